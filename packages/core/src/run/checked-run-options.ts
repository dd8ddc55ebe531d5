import { RunpurseError } from '../errors/runpurse-error.ts';
import { METADATA_FIELDS, reportedBounds } from '../events/metadata.ts';
import { redactText } from '../events/redact.ts';
import type { RunOptions } from './run.ts';
import { ID_FIELDS } from './usable-id.ts';

/** A cap or a session that can't be read would be none: that is the caller's mistake and is thrown, before anything is spent. */
export function checkedRunOptions(options: RunOptions): RunOptions {
  if (options.limitUsd !== undefined && !METADATA_FIELDS.limit_usd.safeParse(options.limitUsd).success) {
    throw new RunpurseError(
      'invalid_option',
      `limitUsd must be a dollar amount such as "0.50", not ${JSON.stringify(redactText(String(options.limitUsd)))}.`,
    );
  }
  for (const field of ID_FIELDS) {
    const id: unknown = options[field];
    if (id === undefined || id === null || ['string', 'number', 'bigint'].includes(typeof id)) continue;
    throw new RunpurseError('invalid_option', `${field} must be a text, not ${Array.isArray(id) ? 'a list' : `of type ${typeof id}`}.`);
  }
  const bounds = reportedBounds.strict().safeParse(options.bounds ?? {});
  if (!bounds.success)
    throw new RunpurseError(
      'invalid_option',
      `bounds.${bounds.error.issues[0]?.path.join('.') ?? ''} ${bounds.error.issues[0]?.message ?? 'is not valid'}.`,
    );
  return options;
}
