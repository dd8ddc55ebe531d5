import { BOUND_NAMES, type BoundConfig, type BoundName } from '../config/config.ts';
import { repeatsWith, type RunState, type SessionState } from './run-state.ts';
import type { CallRequest } from './types.ts';

/** A bound that a call would pass: which one, its limit and where the run or session stands. */
export interface BoundHit {
  readonly scope: 'run' | 'session';
  readonly id: string;
  readonly bound: BoundName;
  readonly limit: number;
  readonly reached: number;
}

interface Standing {
  readonly runtimeSeconds: number;
  readonly steps: number;
  readonly isNewStep: boolean;
  readonly requests: number;
  readonly toolCalls: number;
  readonly retries: number;
  readonly repeats: number;
}

/** What each bound counts if the call goes ahead; undefined: the call does not touch it. */
const WOULD_REACH: Readonly<Record<BoundName, (call: CallRequest, attempt: number, at: Standing) => number | undefined>> = {
  max_runtime_s: (_call, _attempt, at) => at.runtimeSeconds,
  max_steps: (_call, _attempt, at) => (at.isNewStep ? at.steps + 1 : undefined),
  max_requests: (call, _attempt, at) => (call.kind === 'model' ? at.requests + 1 : undefined),
  max_tool_calls: (call, _attempt, at) => (call.kind === 'tool' ? at.toolCalls + 1 : undefined),
  max_retries: (_call, attempt, at) => (attempt > 1 ? at.retries + 1 : undefined),
  max_repeats: (_call, _attempt, at) => at.repeats,
};

/** True when identical calls are bounded; without that no call is fingerprinted for it. */
export function watchesRepeats(run: RunState, configured: readonly BoundConfig[]): boolean {
  return run.bounds.max_repeats !== undefined || configured.some((config) => config.max_repeats !== undefined);
}

/** The first bound, of the run's own and the configured ones, that this call would pass. */
export function findBoundHit(options: {
  readonly configured: readonly BoundConfig[];
  readonly call: CallRequest;
  readonly attempt: number;
  readonly run: RunState;
  readonly session: SessionState | undefined;
  readonly sessionId: string | undefined;
  readonly now: number;
}): BoundHit | undefined {
  const { configured, call, attempt, run, session, sessionId, now } = options;
  if (configured.length === 0 && !hasBounds(run.bounds)) return undefined;
  const { stepId } = call.subject;
  const isNewStep = stepId !== undefined && run.steps?.has(stepId) !== true;
  const repeats = watchesRepeats(run, configured) ? repeatsWith(run, call, attempt) : 1;
  const ofRun: Standing = { ...run.counts, runtimeSeconds: (now - run.startedAt) / 1000, steps: run.steps?.size ?? 0, isNewStep, repeats };
  const ofSession: Standing | undefined =
    session === undefined
      ? undefined
      : { ...session.counts, runtimeSeconds: (now - session.startedAt) / 1000, steps: session.stepsCount, isNewStep, repeats };

  const hit = (
    scope: 'run' | 'session',
    id: string,
    limits: Partial<Record<BoundName, number | undefined>>,
    at: Standing,
  ): BoundHit | undefined => {
    for (const bound of BOUND_NAMES) {
      const limit = limits[bound];
      if (limit === undefined) continue;
      const reached = WOULD_REACH[bound](call, attempt, at);
      if (reached !== undefined && reached > limit) return { scope, id, bound, limit, reached };
    }
    return undefined;
  };

  const own = hit('run', run.runId, run.bounds, ofRun);
  if (own !== undefined) return own;
  for (const config of configured) {
    if (config.workspace !== undefined && config.workspace !== run.workspaceId) continue;
    const id = config.scope === 'run' ? run.runId : sessionId;
    const at = config.scope === 'run' ? ofRun : ofSession;
    if (id === undefined || at === undefined || (config.id !== '*' && config.id !== id)) continue;
    const found = hit(config.scope, id, config, at);
    if (found !== undefined) return found;
  }
  return undefined;
}

function hasBounds(bounds: RunState['bounds']): boolean {
  for (const name in bounds) if (bounds[name as BoundName] !== undefined) return true;
  return false;
}
