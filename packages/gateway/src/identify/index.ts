export { forgedClaim, identify, NO_KEY, secretFrom, UNKNOWN_KEY, type Identified } from './identify.ts';
export { createKeyRing, hashSecret, type KeyRing } from './key-ring.ts';
