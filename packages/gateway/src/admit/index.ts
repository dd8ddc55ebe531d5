export { createAdmission, type AdmissionParts } from './admission.ts';
export type * from './types.ts';
