import { MakeError } from './renderer/make-error.ts';

/** The error that a module ends with; a module that ends without one is a failed test. */
export async function errorOf(run: Promise<unknown>): Promise<MakeError> {
  try {
    await run;
  } catch (error) {
    if (error instanceof MakeError) return error;
    throw error;
  }
  throw new Error('the module ended without an error');
}
