import { REFUSALS, type Refusal } from '../decisions/refusal.ts';

const MARKER = Symbol.for('runpurse.error');

/**
 * Base of every error Runpurse throws. Recognise it with `RunpurseError.isInstance`, which also holds across two
 * bundled copies of core (a platform package bundles its own).
 */
export class RunpurseError extends Error {
  readonly [MARKER] = true;
  readonly code: string;
  readonly isRetryable: boolean;

  constructor(code: string, message: string, options: { isRetryable?: boolean; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'RunpurseError';
    this.code = code;
    this.isRetryable = options.isRetryable ?? false;
  }

  static isInstance(value: unknown): value is RunpurseError {
    return typeof value === 'object' && value !== null && (value as { [MARKER]?: unknown })[MARKER] === true;
  }
}

/** The gateway refused: a budget, bound, policy or run state said no. Nothing was called and nothing is charged. */
export class RefusedError extends RunpurseError {
  readonly refusal: Refusal;
  /** As the gateway answers it: keeps retry policies that look at it from trying again what won't change. */
  readonly status: number;

  constructor(refusal: Refusal) {
    super(refusal.code, refusal.message);
    this.name = 'RefusedError';
    this.refusal = refusal;
    this.status = REFUSALS[refusal.code].status;
  }

  static override isInstance(value: unknown): value is RefusedError {
    return RunpurseError.isInstance(value) && 'refusal' in value;
  }
}

/** The gateway could not be reached or answered with a fault of its own. What follows is the failure policy's choice. */
export class GatewayUnavailableError extends RunpurseError {
  constructor(message: string, cause?: unknown) {
    super('gateway_unavailable', message, { isRetryable: true, cause });
    this.name = 'GatewayUnavailableError';
  }
}
