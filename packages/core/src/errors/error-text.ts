import { redactText } from '../events/redact.ts';

const ERROR_TEXT_MAX = 500;

/** What went wrong, without secrets and not longer than a line or two: error texts like to quote what was sent. */
export function errorText(error: unknown): string {
  return redactText(messageOf(error) ?? 'failed')
    .slice(0, ERROR_TEXT_MAX)
    .toWellFormed();
}

/** What an error says of itself; undefined when nothing of it can be read: anything can be thrown, with any getters. */
export function messageOf(error: unknown): string | undefined {
  try {
    // Not by its class: an error may come from another realm.
    const { message, name } = (typeof error === 'object' && error !== null ? error : { message: error }) as {
      message?: unknown;
      name?: unknown;
    };
    const said = message === '' || message === undefined ? name : message;
    return typeof said === 'string' && said !== '' ? said : undefined;
  } catch {
    return undefined;
  }
}
