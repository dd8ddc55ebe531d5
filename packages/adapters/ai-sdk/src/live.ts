import { AsyncLocalStorage } from 'node:async_hooks';
import { refusalOf, runEndOf, type Run } from '@runpurse/core';
import { isCancellation, type Failure } from '@runpurse/core/language-model';

/** One run while it lasts: what is under way in it, and what failed so far. */
export interface Live {
  readonly run: Run;
  /** Address of the gateway that keeps the run. */
  readonly gateway: string;
  readonly onFault: (fault: unknown) => void;
  /** What the next try of a failed call is, by the call's fingerprint. */
  readonly retries: Map<string, { readonly stepId: string; readonly attempt: number }>;
  /** How many model calls are being asked for. */
  asking: number;
  /** Calls under way, and how to report one whose run ends first. */
  readonly open: Map<object, () => void>;
  /** Why the newest stream failed: the AI SDK tells `onError` and throws nothing. */
  streamFailure?: Failure | undefined;
  /** The newest stream ended asking for tools, so the loop meant to go on. */
  isInLoop?: boolean | undefined;
  /** The caller's, as the newest model call got it. */
  signal?: AbortSignal | undefined;
}

/** Where in a run something happens: in which agent, inside which step. */
export interface Place {
  readonly agentId?: string | undefined;
  readonly parentStepId?: string | undefined;
}

/** The tool call around the code that runs now: the SDK tells a tool its call, but not the models used inside it. */
export const insideTool = new AsyncLocalStorage<{ readonly live: Live; readonly place: Place }>();

/** A place, moved into the tool call around us when that is one of the same run. */
export function placeNow(live: Live, place: Place): Place {
  const tool = insideTool.getStore();
  return tool?.live === live ? { agentId: place.agentId ?? tool.place.agentId, parentStepId: tool.place.parentStepId } : place;
}

/** Ends the run however its work ended. What is still under way in it is reported as aborted: its own end may never come. */
export async function endRun(live: Live, failure: Failure | undefined): Promise<void> {
  const { run, open, signal } = live;
  // A stream of the SDK that is aborted ends without an error, in the middle of what it did.
  const isCutOff = signal?.aborted === true && (live.isInLoop === true || open.size + live.asking > 0);
  for (const abandon of [...open.values()]) abandon();
  const told = refusalOf(failure?.error) === undefined ? (live.streamFailure ?? failure) : failure;
  const because = told ?? (isCutOff ? { error: signal.reason as unknown } : undefined);
  await run.end(
    because === undefined
      ? { status: 'completed' }
      : runEndOf(because.error ?? String(because.error), isCancellation(because.error, signal)),
  );
}

/** A fault of ours ends here: the host gets `otherwise`. */
export function guarded<Result>({ onFault }: Pick<Live, 'onFault'>, work: () => Result, otherwise: Result): Result {
  try {
    return work();
  } catch (fault) {
    onFault(fault);
    return otherwise;
  }
}
