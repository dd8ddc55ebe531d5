export { createAdmission, type AdmissionParts } from './admission.ts';
export { recoverReservations } from './recover.ts';
export type * from './types.ts';
