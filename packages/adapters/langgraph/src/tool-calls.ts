import { createHash } from 'node:crypto';
import { redact, redactText, RunpurseError, type GatewayClient, type Run, type ToolResult } from '@runpurse/core';

/** A tool call that was allowed. It is settled by the run that asked, whichever run of the thread then makes it. */
export interface ToolHold {
  settle(result: Pick<ToolResult, 'status' | 'error'>): void;
}

/** One use of a tool, as LangChain tells it. */
export interface ToolUse {
  /** Of the node's execution, and its attempt. */
  readonly namespace: string;
  readonly attempt: number;
  readonly tool: string;
  /** The model's id for it; a call by hand has none. */
  readonly given: string | undefined;
  readonly input: string;
}

/** What one tool call is called in the run. */
export interface ToolName {
  readonly toolCallId: string;
  /** In a thread the same one when a resumed run, of any process, makes the call again. */
  readonly stepId: string;
  readonly attempt: number;
  /** Counts the uses of the tool in its place. */
  readonly counter: string;
}

/** Tells the tool calls of one run apart: models repeat their ids, nodes are run again, and calls by hand have no id at all. */
export class ToolNames {
  readonly #run: Pick<Run, 'toolCallId'>;
  readonly #threadId: string | undefined;
  readonly #uses = new Map<string, number>();
  readonly #names = new Map<string, ToolName>();

  constructor(run: Pick<Run, 'toolCallId'>, threadId: string | undefined) {
    this.#run = run;
    this.#threadId = threadId;
  }

  /** The same use in a further attempt of its node, or made again after it failed, is a further attempt of the same call. */
  nameOf({ namespace, attempt, tool, given, input }: ToolUse): ToolName {
    const place = hash(namespace, tool, given, withoutSecrets(input));
    const counter = `${place}#${attempt}`;
    const uses = this.#usesOf(counter) + 1;
    this.#uses.set(counter, uses);
    const key = `${place}|${uses}`;
    const known = this.#names.get(key);
    const name =
      known === undefined
        ? { ...this.#newName(key, given), attempt, counter }
        : { ...known, attempt: Math.max(attempt, known.attempt + 1), counter };
    this.#names.set(key, name);
    return name;
  }

  /** It failed, or was refused: the same use made next is the same call. */
  failed({ counter }: ToolName): void {
    this.#uses.set(counter, this.#usesOf(counter) - 1);
  }

  #newName(key: string, given: string | undefined): Pick<ToolName, 'toolCallId' | 'stepId'> {
    const toolCallId = this.#run.toolCallId(given);
    return { toolCallId, stepId: this.#threadId === undefined ? toolCallId : `tool_${hash(this.#threadId, key)}` };
  }

  #usesOf(counter: string): number {
    return this.#uses.get(counter) ?? 0;
  }
}

/** The input without what a hash that is sent could give away. */
function withoutSecrets(input: string): unknown {
  try {
    return redact(JSON.parse(input));
  } catch {
    return redactText(input);
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

function hash(...parts: readonly unknown[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('base64url').slice(0, 22);
}
