import type { Frame, Live } from './live.ts';
import { isSameRun, type Failure, type RunpurseContext } from './translate.ts';

/** One of the SDK's traces: the runs that live in it because they were begun past our runner, by `run()` or `withTrace()`. */
export interface Trace {
  readonly lives: Set<Live>;
  /** Spans inside of a `run()`, with what is known of it. */
  readonly inside: Map<string, Task>;
  /** The `run()`s under way that are part of no other, by their task span. */
  readonly open: Map<string, Task>;
}
interface Task {
  readonly stated: RunpurseContext | undefined;
  /** A run by itself: stated so inside another `run()`, or begun in the background of one, or in a trace, that is over. */
  readonly isWhole: boolean;
}

export const traces = new Map<string, Trace>();

/** A trace whose own code throws never says that it ended: of those only so many are kept. */
const TRACES_KEPT = 1_000;

/**
 * Those under way, as far as they say so, and how often they began. A `run()` resumed from memory goes on in one that is over, and
 * does not begin it again; an agent behind a tool that is resumed in it does.
 */
const begun = new Map<string, number>();

export function beginTrace(traceId: string): void {
  // One whose code threw never said that it ended: with nothing left of it, this is its first beginning again.
  begun.set(traceId, traces.has(traceId) ? (begun.get(traceId) ?? 0) + 1 : 1);
  dropOldest(begun);
}

export function traceOf(traceId: string): Trace {
  const known = traces.get(traceId);
  if (known !== undefined) return known;
  const trace: Trace = { lives: new Set(), inside: new Map(), open: new Map() };
  traces.set(traceId, trace);
  dropOldest(traces);
  return trace;
}

function dropOldest(kept: Map<string, unknown>): void {
  const oldest = kept.keys().next();
  if (kept.size > TRACES_KEPT && oldest.done !== true) kept.delete(oldest.value);
}

export function keepInTrace(traceId: string, live: Live): void {
  live.traces.add(traceId);
  traceOf(traceId).lives.add(live);
}

/** A run that was denied has not begun: its trace may ask again. */
export function forgetTraced(live: Live): void {
  for (const traceId of live.traces) traces.get(traceId)?.lives.delete(live);
}

interface SpanIds {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentId: string | null;
}

/** Remembers where a span stands; a task span is a `run()`. */
export function enterSpan({ traceId, spanId, parentId }: SpanIds, isTask: boolean, { live, stated }: Frame): void {
  const around = traces.get(traceId)?.inside.get(parentId ?? '');
  if (around === undefined && !isTask) return;
  const isLate = live?.isEnded === true && around?.isWhole !== true;
  const isPart = around !== undefined && (!isTask || (isSameRun(around.stated, stated) && !isLate));
  const task = isPart ? around : { stated, isWhole: isLate || around !== undefined || !begun.has(traceId) };
  const trace = traceOf(traceId);
  trace.inside.set(spanId, task);
  if (isTask && !isPart) trace.open.set(spanId, task);
}

/**
 * A `run()` is over. Tells the runs that end with it: a whole one does, and any that failed once no other `run()` of the trace is
 * under way. The others last as long as the trace, which never says that it ended when its code throws.
 */
export function leaveTask({ traceId, spanId }: SpanIds, live: Live | undefined, failure: Failure | undefined): readonly Live[] {
  const trace = traces.get(traceId);
  const task = trace?.open.get(spanId);
  const times = begun.get(traceId) ?? 0;
  // A part that begins the trace again, and fails, doesn't say that it ended either.
  if (task === undefined && failure !== undefined && times > 1) begun.set(traceId, times - 1);
  if (trace === undefined || task === undefined) return [];
  trace.open.delete(spanId);
  const isOurs = live !== undefined && trace.lives.has(live);
  if (isOurs) live.taskFailure ??= failure;
  const isQuiet = trace.open.size === 0;
  const ended = [...trace.lives].filter((one) => (isQuiet && one.taskFailure !== undefined) || (task.isWhole && one === live));
  for (const one of ended) trace.lives.delete(one);
  if (isQuiet && trace.lives.size === 0) traces.delete(traceId);
  return ended;
}

/** The trace is over, and with it what lives in it: unless it was begun again inside itself, whose end this is. */
export function leaveTrace(traceId: string): readonly Live[] {
  const timesLeft = (begun.get(traceId) ?? 1) - 1;
  if (timesLeft > 0) begun.set(traceId, timesLeft);
  else begun.delete(traceId);
  const trace = traces.get(traceId);
  if (trace === undefined || timesLeft > 0 || [...trace.open.values()].some(({ isWhole }) => isWhole)) return [];
  traces.delete(traceId);
  return [...trace.lives];
}
