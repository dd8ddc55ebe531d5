import { RunpurseError } from '../errors/runpurse-error.ts';
import { METADATA_FIELDS, reportedBounds } from '../events/metadata.ts';
import { redactText } from '../events/redact.ts';
import type { RunOptions } from './run.ts';

/** A cap that can't be read would be no cap: that is the caller's mistake and is thrown, before anything is spent. */
export function checkedRunOptions(options: RunOptions): RunOptions {
  if (options.limitUsd !== undefined && !METADATA_FIELDS.limit_usd.safeParse(options.limitUsd).success) {
    throw new RunpurseError(
      'invalid_option',
      `limitUsd must be a dollar amount such as "0.50", not ${JSON.stringify(redactText(String(options.limitUsd)))}.`,
    );
  }
  const bounds = reportedBounds.strict().safeParse(options.bounds ?? {});
  if (!bounds.success)
    throw new RunpurseError(
      'invalid_option',
      `bounds.${bounds.error.issues[0]?.path.join('.') ?? ''} ${bounds.error.issues[0]?.message ?? 'is not valid'}.`,
    );
  return options;
}
