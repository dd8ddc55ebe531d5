import { AsyncLocalStorage } from 'node:async_hooks';
import { getCurrentTrace } from '@openai/agents';
import type { Run } from '@runpurse/core';
import type { Call, Host } from './carry.ts';
import type { RunpurseContext } from './translate.ts';

/** One run of ours while it lasts. */
export interface Live {
  readonly run: Run;
  /** The attachment it belongs to: a process may have several. */
  readonly host: Host;
  /** Address of the gateway it is kept by. */
  readonly gateway: string;
  /** Model calls under way. */
  readonly calls: Set<Call>;
  /** Tool calls asked about and not yet settled, by the id they are known by here. */
  readonly openTools: Set<string>;
  /** Agents behind tools that wait to be resumed, as `waitingIn` tells them, and of those asked about again the ids here. */
  readonly waitingTools: Set<string>;
  readonly paidTools: Set<string>;
  /** How often a tool call's id was used: models repeat ids. */
  readonly toolUses: Map<string, number>;
  /** Spans of tool calls: those that were asked about, and all, to know an agent behind a tool from the run's own. */
  readonly guardedSpans: Set<string>;
  readonly toolSpans: Set<string>;
  /** Inputs of failed model calls: the same one again is a retry. */
  readonly failed: WeakMap<object, { readonly stepId: string; readonly attempts: number }>;
  /** What went wrong with the last model call, as it was thrown. */
  failure?: unknown;
  isEnded: boolean;
}

/** Where in a run the code that runs right now stands. */
export interface Frame {
  readonly live?: Live | undefined;
  /** What `runpurse.with(…)` states for the runs inside. */
  readonly stated?: RunpurseContext | undefined;
  /** The tool call around it. */
  readonly parentStepId?: string | undefined;
  /** The agent at work, as far as it can be known without tracing. */
  agentName?: string | undefined;
  readonly call?: Call | undefined;
}

export const frames = new AsyncLocalStorage<Frame>();

/** Runs of traces that were begun past our runner, by `run()` or `withTrace()`. */
export const traced = new Map<string, Live>();

/** A trace whose own code throws never says that it ended: of those only so many are kept. */
const TRACED_KEPT = 1_000;

export function keepTraced(traceId: string, live: Live): void {
  traced.set(traceId, live);
  const oldest = traced.keys().next();
  if (traced.size > TRACED_KEPT && oldest.done !== true) traced.delete(oldest.value);
}

/** A run that was denied has not begun: its trace may ask again. */
export function forgetTraced(live: Live): void {
  for (const [traceId, kept] of traced) if (kept === live) traced.delete(traceId);
}

/** The run the code that runs right now belongs to. */
export function liveHere(): Live | undefined {
  return frames.getStore()?.live ?? traced.get(getCurrentTrace()?.traceId ?? '');
}

export function makeLive(run: Run, host: Host, gateway: string): Live {
  return {
    run,
    host,
    gateway,
    calls: new Set(),
    openTools: new Set(),
    waitingTools: new Set(),
    paidTools: new Set(),
    toolUses: new Map(),
    guardedSpans: new Set(),
    toolSpans: new Set(),
    failed: new WeakMap(),
    isEnded: false,
  };
}
