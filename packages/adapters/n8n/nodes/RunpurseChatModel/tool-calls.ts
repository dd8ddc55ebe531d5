import type { Message } from '@n8n/ai-node-sdk';
import type { LiveRun } from './live-run.ts';
import { outcomeOf, toolResults } from './wire.ts';

/** How the calls that the gateway allowed end, there. */

/** Results that came since the last round settle their calls. */
export function settle(live: LiveRun, messages: readonly Message[]): void {
  for (const result of messages.flatMap(toolResults)) {
    const { toolCallId } = result;
    if (!live.open.has(toolCallId)) continue;
    const outcome = outcomeOf(result);
    if (outcome.type === 'declined') {
      release(live, toolCallId, outcome.message);
      continue;
    }
    live.open.delete(toolCallId);
    live.run.settleTool({ toolCallId, status: outcome.type, ...(outcome.type === 'failed' && { error: outcome.message }) });
  }
}

/** A call that was allowed and did not run costs nothing. */
export function release(live: LiveRun, toolCallId: string, why: string): void {
  if (live.open.delete(toolCallId)) live.run.settleTool({ toolCallId, status: 'failed', error: why, neverRan: true });
}

/** The agent has its answer: its calls are not spoken of again, but by a memory, which needs no provider's ids. */
export function forget(live: LiveRun, messages: readonly Message[]): void {
  for (const { toolCallId: id } of messages.flatMap(({ content }) => content.filter((part) => part.type === 'tool-call'))) {
    live.given.delete(id ?? '');
    live.told.delete(id ?? '');
  }
}
