/** An error as a scenario sees it: its type decides what Make does, its message is what the user reads. */
export class MakeError extends Error {
  readonly type: string;
  /** Undefined when no answer came. */
  readonly status: number | undefined;
  readonly body: unknown;

  constructor(type: string, message: string, answer: { readonly status?: number; readonly body?: unknown } = {}) {
    super(message);
    this.name = type;
    this.type = type;
    this.status = answer.status;
    this.body = answer.body;
  }
}

/**
 * What Make makes of these statuses, whatever the app says: https://help.make.com/types-of-errors. The first two switch
 * the scenario's schedule off and no error handler hears of them.
 */
export const FORCED_TYPES: ReadonlyMap<number, string> = new Map([
  [401, 'AccountValidationError'],
  [403, 'AccountValidationError'],
  [429, 'RateLimitError'],
]);
