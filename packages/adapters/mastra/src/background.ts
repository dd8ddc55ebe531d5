import { endRun, guarded, type Host, type Live } from './live.ts';

/** A tool call that Mastra runs as a background task. */
export interface Task {
  /** Mastra's id, once the agent's stream has told it: of one that the agent goes on without. */
  readonly taskId?: string | undefined;
  readonly state: 'open' | 'suspended' | 'over';
}

/** What keeps a run open after its agent's answer: tasks, and turns that tell the agent of them (`untilIdle`). */
export interface Background {
  /** By the id the model gave the call, until a turn is told of it. */
  readonly tasks: Map<string, Task>;
  /** Turns under way, one object for each. */
  readonly turns: Set<object>;
  /** The agent has answered, or the work is done that the run was begun for: the turns end it. */
  isAnswered: boolean;
  ending?: NodeJS.Timeout | undefined;
}

/** Notes a task that a part of an agent's stream says has started. */
export function noteTask(live: Live, { type, payload }: { readonly type: string; readonly payload?: unknown }): void {
  if (type !== 'tool-result') return;
  const { toolCallId, providerMetadata } = payload as ResultPart;
  const { taskId, status } = providerMetadata?.mastra?.backgroundTask ?? {};
  if (taskId === undefined || status !== 'running') return;
  const { tasks } = live.background;
  tasks.set(toolCallId, { taskId, state: tasks.get(toolCallId)?.state ?? 'open' }); // it may be over already
  live.host.tasks.set(taskId, live);
  live.atEnd.push(({ type: ending }) => leaveTask(live.host, taskId, ending === 'completed'));
}

/** Of a run that was refused, stopped or failed the agent may still be told: in that run, where the gateway refuses it, and in no other. */
function leaveTask({ tasks }: Host, taskId: string, isCompleted: boolean): void {
  if (isCompleted) tasks.delete(taskId);
  const left = [...tasks].filter(([, { isEnded }]) => isEnded);
  for (const [oldest] of left.slice(0, -LEFT_TASKS_KEPT)) tasks.delete(oldest);
}
const LEFT_TASKS_KEPT = 100;

interface ResultPart {
  readonly toolCallId: string;
  readonly providerMetadata?: {
    readonly mastra?: { readonly backgroundTask?: { readonly taskId?: string; readonly status?: string } };
  };
}

/** Notes that a task's call has ended, or waits to be resumed. */
export function noteTaskEnd(live: Live, toolCallId: string, state: Task['state']): void {
  const { tasks } = live.background;
  tasks.set(toolCallId, { ...tasks.get(toolCallId), state });
  endIfIdle(live);
}

/** Tasks that Mastra tells a turn of, in a system message, and the run they are of: it goes on with that turn. */
export interface Told {
  readonly live: Live;
  readonly toolCallIds: readonly string[];
}

export function toldOf({ tasks: known }: Host, systemMessages: readonly unknown[]): Told | undefined {
  if (known.size === 0) return undefined;
  const text = JSON.stringify(systemMessages);
  const runs = [...known].flatMap(([taskId, run]) => (text.includes(taskId) ? [run] : []));
  const live = runs.find(({ isEnded }) => !isEnded) ?? runs[0]; // they may be of several runs
  if (live === undefined) return undefined;
  const told = [...live.background.tasks].filter(
    ([, { taskId, state }]) => taskId !== undefined && state !== 'suspended' && text.includes(taskId),
  );
  return { live, toolCallIds: told.map(([toolCallId]) => toolCallId) };
}

/** Keeps the run open for a turn that has begun in it, until that is taken out of its `turns`. */
export function beginTurn({ live: { background }, toolCallIds }: Told): object {
  const turn = {};
  clearTimeout(background.ending);
  background.turns.add(turn);
  for (const toolCallId of toolCallIds) background.tasks.delete(toolCallId);
  return turn;
}

/** Ends a run whose agent has answered, or whose work is done, as completed, as soon as nothing of it goes on in the background. */
export async function endWhenIdle(live: Live): Promise<void> {
  const { background, atEnd } = live;
  const isAllAwaited = [...background.tasks.values()].every(({ taskId }) => taskId === undefined);
  if (isAllAwaited && background.turns.size === 0) return endRun(live, { type: 'completed' });
  background.isAnswered = true;
  atEnd.push(() => clearTimeout(background.ending));
  endIfIdle(live);
}

function endIfIdle(live: Live): void {
  const { background, host } = live;
  clearTimeout(background.ending);
  if (!background.isAnswered || background.turns.size > 0) return;
  if ([...background.tasks.values()].some(({ state }) => state !== 'over')) return;
  background.ending = setTimeout(() => void guarded(host, () => endRun(live, { type: 'completed' }), undefined), TOLD_WITHIN_MS);
}

/** Mastra says nowhere whether it will tell the agent. It first stores the result and reads the agent's memory. */
const TOLD_WITHIN_MS = 3_000;
