import { createHash } from 'node:crypto';
import { RunpurseError, type GatewayClient, type ToolResult } from '@runpurse/core';

/** A tool call that was allowed. It is settled by the run that asked, whichever run of the thread then makes it. */
export interface ToolHold {
  settle(result: Pick<ToolResult, 'status' | 'error'>): void;
}

/** What one tool call is called in the run. */
export interface ToolName {
  readonly toolCallId: string;
  /** In a thread the same one when a resumed run, of any process, makes the call again. */
  readonly stepId: string;
}

/** Tells the tool calls of one run apart: models repeat their ids, nodes are run again, and calls by hand have no id at all. */
export class ToolNames {
  readonly #threadId: string | undefined;
  readonly #uses = new Map<string, number>();
  readonly #names = new Map<string, ToolName>();

  constructor(threadId: string | undefined) {
    this.#threadId = threadId;
  }

  /** `given`: the model's id, if any; `fallback`: one that is new. A further attempt in the same node is the same call. */
  nameOf(
    call: { readonly namespace: string; readonly tool: string; readonly attempt: number; readonly given: string | undefined },
    fallback: string,
  ): ToolName {
    const place = `${call.namespace}|${call.given ?? call.tool}`;
    const key = `${place}|${this.#use(`${place}#${call.attempt}`)}`;
    const known = this.#names.get(key);
    if (known !== undefined) return known;
    const id = call.given ?? fallback;
    const uses = this.#use(id);
    const toolCallId = uses === 1 ? id : `${id}~${uses}`;
    const name = { toolCallId, stepId: this.#threadId === undefined ? toolCallId : `tool_${hash(this.#threadId, key)}` };
    this.#names.set(key, name);
    return name;
  }

  #use(id: string): number {
    const uses = (this.#uses.get(id) ?? 0) + 1;
    this.#uses.set(id, uses);
    return uses;
  }
}

const PAUSED_RUNS_READ = 20;

/**
 * Tool calls that the paused runs of a session were allowed, by step id, as the gateway knows them: what a resumed run
 * must not be charged for again, whichever process paused it. Nothing when the gateway cannot say.
 */
export async function allowedBefore(client: GatewayClient, sessionId: string | undefined): Promise<ReadonlyMap<string, ToolHold>> {
  try {
    const session = sessionId === undefined ? undefined : await client.readSession(sessionId);
    const paused = (session?.runs ?? []).filter(({ status }) => status === 'paused').slice(-PAUSED_RUNS_READ);
    const runs = await Promise.all(paused.map(({ run_id }) => client.readRun(run_id)));
    return new Map(
      runs.flatMap((run) =>
        (run?.tools ?? []).flatMap(({ step_id, tool_call_id: toolCallId, tool, attempt, status, parent_step_id, graph_node, agent_id }) => {
          if (run === undefined || step_id === null || status === 'denied') return [];
          const place = {
            stepId: step_id,
            parentStepId: parent_step_id ?? undefined,
            graphNode: graph_node ?? undefined,
            agentId: agent_id ?? undefined,
            attempt,
          };
          const settle: ToolHold['settle'] = (result) => {
            if (status === 'open') client.run({ runId: run.run_id, sessionId }).settleTool({ toolCallId, tool, place, ...result });
          };
          return [[step_id, { settle }] as const];
        }),
      ),
    );
  } catch (error) {
    if (RunpurseError.isInstance(error)) return new Map();
    throw error;
  }
}

function hash(...parts: readonly string[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('base64url').slice(0, 22);
}
