import type { Decision } from '../decisions/decision.ts';
import { REFUSALS } from '../decisions/refusal.ts';
import type { CallPlace, ModelCall, Run } from '../run/run.ts';

/** One model call from its question to its end, as the `fetch` of its client needs to know it. */
export interface FetchedCall {
  readonly run: Run;
  /** Address of the gateway the run is kept by. */
  readonly gateway: string;
  readonly place: CallPlace & { readonly stepId: string };
  /** What a further try past the gateway is asked for; left out, such tries are not asked for. */
  readonly asked?: Pick<ModelCall, 'model' | 'maxOutputTokens' | 'inputTokensMax'> | undefined;
  /** It goes through the gateway; set when it is seen to. */
  isCarried: boolean;
  /** Requests sent so far: a model client tries again by itself. */
  tries: number;
  /** A request of it is on its way to an answer: a metered fetch inside another has nothing to add. */
  isSending?: boolean;
  requestId?: string | undefined;
  /** What went wrong with the last try. */
  failure?: Error | undefined;
}

/** The attempt of the newest request: that of the call, and one more for each try of its client. */
export function attemptOf({ place, tries }: Pick<FetchedCall, 'place' | 'tries'>): number {
  return (place.attempt ?? 1) + Math.max(0, tries - 1);
}

/** A refusal as the gateway would have answered it, so that model clients throw the same for both, and don't try again. */
export function refusalReply(decision: Exclude<Decision, { readonly type: 'allowed' }>): Response {
  const { code, message } = decision.type === 'denied' ? decision.refusal : decision.error;
  const status = decision.type === 'denied' ? REFUSALS[decision.refusal.code].status : UNAVAILABLE;
  const { blockedBy, details } = decision.type === 'denied' ? decision.refusal : {};
  const error = { message, type: 'runpurse_error', param: null, code, blocked_by: blockedBy, ...details };
  return Response.json({ error }, { status, headers: { 'x-should-retry': 'false' } });
}

const UNAVAILABLE = 503;
