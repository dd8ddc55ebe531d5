import { RunpurseError } from '@runpurse/core';
import { StoreError } from '../store/store.ts';

/** Something the person at the terminal can mend: printed as one line, without a stack. */
export class CliError extends Error {
  readonly exitCode: number;

  constructor(message: string, exitCode = 1) {
    super(message);
    this.name = 'CliError';
    this.exitCode = exitCode;
  }
}

/** The line to print for a failure, and the exit code that goes with it. Faults nobody foresaw keep their stack. */
export function describeFailure(failure: unknown): { readonly text: string; readonly exitCode: number } {
  if (failure instanceof CliError) return { text: failure.message, exitCode: failure.exitCode };
  if (failure instanceof StoreError || RunpurseError.isInstance(failure)) return { text: failure.message, exitCode: 1 };
  const code = (failure as NodeJS.ErrnoException | undefined)?.code;
  if (failure instanceof Error && typeof code === 'string' && FILE_ERRORS[code] !== undefined) {
    const { path } = failure as NodeJS.ErrnoException;
    return { text: `${path ?? failure.message}: ${FILE_ERRORS[code]}.`, exitCode: 1 };
  }
  return { text: failure instanceof Error ? (failure.stack ?? failure.message) : String(failure), exitCode: 1 };
}

const FILE_ERRORS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EPERM: 'not permitted',
  ENOENT: 'no such file or directory',
  ENOTDIR: 'not a directory',
  EISDIR: 'is a directory',
  ENOSPC: 'no space left on the disk',
  EROFS: 'the file system is read-only',
};
