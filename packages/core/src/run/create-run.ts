import type { AgentContext } from '../attribution/context.ts';
import { contextToHeaders } from '../attribution/headers.ts';
import { usableProperties } from '../attribution/properties.ts';
import { ALLOWED, type Decision } from '../decisions/decision.ts';
import type { AgentEventInput } from '../events/agent-event.ts';
import { errorText } from '../errors/error-text.ts';
import { METADATA_FIELDS, type EventMetadata } from '../events/metadata.ts';
import { redactText } from '../events/redact.ts';
import type { Problem } from '../client/client.ts';
import type { Ids } from '../client/transport.ts';
import { checkedRunOptions } from './checked-run-options.ts';
import { inputHash } from './input-hash.ts';
import { isPausedRun } from './run-end.ts';
import type {
  CallPlace,
  ModelCall,
  ModelResult,
  Run,
  RunEnd,
  RunFinance,
  RunOptions,
  Step,
  StepStart,
  ToolCall,
  ToolResult,
} from './run.ts';
import { definedOnly, usableId, usableIds } from './usable-id.ts';

/** What a run needs of its client. */
export interface RunPorts {
  readonly ids: Ids;
  readonly asksCarriedCalls: boolean;
  readonly wireStepId: (stepId: string, attempt: number | undefined) => string;
  readonly record: (event: AgentEventInput) => void;
  readonly ask: (event: AgentEventInput) => Promise<Decision>;
  readonly deliver: (runId: string) => Promise<boolean>;
  /** Whether the gateway keeps the run as paused; also true where it does not say. */
  readonly isPaused: (runId: string) => Promise<boolean>;
  /** Ids of the run's tool calls that are taken, in whichever of its handles. */
  readonly toolIds: (runId: string) => Set<string>;
  readonly forget: (runId: string) => void;
  readonly onProblem: (problem: Problem) => void;
}

export function createRun(options: RunOptions, ports: RunPorts): Run {
  return new ReportingRun(options, ports);
}

/** A tool call that was asked about, so that its end carries the same facts (an Alephant gateway compares them). */
interface OpenTool {
  readonly fields: EventFields;
  readonly decision: Promise<Decision>;
}

type EventFields = Omit<AgentEventInput, 'type'>;

class ReportingRun implements Run {
  readonly runId: string;
  readonly context: AgentContext;
  readonly #options: RunOptions;
  readonly #ports: RunPorts;
  /** Ids every event of the run carries. */
  readonly #ids: EventFields;
  readonly #openTools = new Map<string, OpenTool>();
  /** Denied or settled: nothing more is to be said about them. */
  readonly #endedTools = new Set<string>();
  readonly #modelPlaces = new Map<string, CallPlace>();
  #toolIds: Set<string> | undefined;
  #sequence = 0;
  #started: Promise<Decision> | undefined;
  #ended: Promise<void> | undefined;

  constructor(options: RunOptions, ports: RunPorts) {
    this.#options = checkedRunOptions(options);
    this.#ports = ports;
    const { name: _name, limitUsd: _limit, bounds: _bounds, ...context } = options;
    const properties = usableProperties(context.properties);
    this.context = { ...usableIds(definedOnly({ ...context, properties })), runId: usableId(options.runId) ?? ports.ids.next('run') };
    this.runId = this.context.runId ?? '';
    this.#ids = {
      run_id: this.runId,
      session_id: this.context.sessionId,
      workflow_id: this.context.workflowId,
      customer_id: this.context.customerId,
      agent_id: this.context.agentId,
      agent_name: this.context.agentName,
    };
  }

  get sessionId(): string | undefined {
    return this.context.sessionId;
  }

  start(): Promise<Decision> {
    this.#started ??= this.#ask('run.started', {
      ...this.#place({}),
      name: this.#options.name,
      event_phase: 'before',
      policy_stage: 'pre_action',
      step_kind: 'planning',
      metadata: {
        limit_usd: this.#options.limitUsd,
        bounds: this.#options.bounds,
        session_name: this.context.sessionName,
        session_path: this.context.sessionPath,
        properties: this.context.properties,
      },
    });
    return this.#started;
  }

  headers(place: Parameters<Run['headers']>[0] = {}): Record<string, string> {
    const own = usableIds(definedOnly(place));
    const context: AgentContext = { ...this.context, ...own, runId: this.runId };
    const { stepId, attempt } = context;
    return contextToHeaders(stepId === undefined ? context : { ...context, stepId: this.#ports.wireStepId(stepId, attempt) });
  }

  step(start: StepStart): Step {
    const stepId = usableId(start.stepId) ?? this.#ports.ids.next('step');
    const fields: EventFields = { ...this.#place({ ...start, stepId }), name: start.name, step_kind: start.kind };
    this.#record('step.started', { ...fields, event_phase: 'state', policy_stage: 'audit_only' });
    let isOpen = true;
    const end = (type: string, metadata: EventMetadata): void => {
      if (!isOpen) return;
      isOpen = false;
      this.#record(type, { ...fields, ...AFTER, metadata });
    };
    return {
      stepId,
      complete: () => end('step.completed', { status: 'completed' }),
      fail: (error) => end('step.failed', { status: 'failed', message: errorText(error) }),
    };
  }

  async authorizeModel(call: ModelCall): Promise<Decision> {
    const place = definedOnly(placeOf(call));
    this.#modelPlaces.set(call.stepId, place);
    if (call.carried && !this.#ports.asksCarriedCalls) return ALLOWED;
    const decision = await this.#ask('llm.call.started', {
      event_id: call.eventId,
      ...this.#place(place),
      name: call.model,
      event_phase: 'before',
      policy_stage: 'pre_action',
      step_kind: 'llm_call',
      metadata: {
        model: call.model,
        provider: call.provider,
        carried: call.carried || undefined,
        one_call: call.eventId === undefined ? undefined : true,
        max_output_tokens: call.maxOutputTokens,
        input_tokens_max: call.inputTokensMax,
      },
    });
    if (decision.proceed) return decision;
    this.#modelPlaces.delete(call.stepId);
    if (decision.type === 'unavailable' && !call.carried)
      this.#release('llm.call.failed', { ...this.#place(place), name: call.model, step_kind: 'llm_call' }, { model: call.model });
    return decision;
  }

  recordModel(result: ModelResult): void {
    const place = { ...this.#modelPlaces.get(result.stepId), ...definedOnly(placeOf(result)) };
    this.#modelPlaces.delete(result.stepId);
    const status = result.status ?? (result.error === undefined ? 'completed' : 'failed');
    this.#record(status === 'completed' ? 'llm.call.completed' : 'llm.call.failed', {
      event_id: result.eventId,
      ...this.#place(place),
      ...AFTER,
      name: result.model,
      step_kind: 'llm_call',
      metadata: {
        model: result.model,
        provider: result.provider,
        carried: result.carried === true || undefined,
        one_call: result.eventId === undefined ? undefined : true,
        usage: result.usage,
        status,
        message: result.error === undefined ? undefined : errorText(result.error),
        request_id: result.requestId,
      },
    });
  }

  authorizeTool(call: ToolCall): Promise<Decision> {
    const key = toolKey(call.toolCallId, call.attempt);
    const open = this.#openTools.get(key);
    if (open !== undefined && open.fields.name === call.tool) return open.decision;
    this.#endedTools.delete(key);
    const fields: EventFields = {
      ...this.#place(placeOf(call)),
      tool_call_id: usableId(call.toolCallId),
      name: call.tool,
      step_kind: 'tool_call',
      input_hash: this.#hash(call.input),
    };
    const asked = this.#ask('tool.call.requested', {
      ...fields,
      event_id: call.eventId,
      event_phase: 'before',
      policy_stage: 'pre_action',
      metadata: { tool_name: call.tool, cost_usd: this.#amount('estimatedCostUsd', call.estimatedCostUsd) },
    });
    // Another tool under the id of an open call: the gateway refuses it, and the open one is still to be settled.
    if (open !== undefined) return asked;
    const decision = asked.then((answer) => {
      if (answer.proceed) return answer;
      this.#closeTool(key);
      if (answer.type === 'unavailable') this.#release('tool.call.failed', fields, { tool_name: call.tool });
      return answer;
    });
    this.#openTools.set(key, { fields, decision });
    return decision;
  }

  /** The question may have been heard, its answer was lost: what was held for a call that is not made is given back. */
  #release(type: string, fields: EventFields, metadata: EventMetadata): void {
    this.#record(type, { ...fields, ...AFTER, metadata: { ...metadata, status: 'failed', released: true, message: NO_ANSWER } });
  }

  toolCallId(given?: string): string {
    const id = usableId(given) ?? this.#ports.ids.next('tool');
    this.#toolIds ??= this.#ports.toolIds(this.runId);
    let own = id;
    for (let count = 2; this.#toolIds.has(own); count += 1) own = usableId(`${id}~${count}`) ?? '';
    this.#toolIds.add(own);
    return own;
  }

  settleTool(result: ToolResult): void {
    const key = this.#openKey(result.toolCallId, result.place?.attempt);
    if (this.#endedTools.has(key)) return;
    const fields = this.#openTools.get(key)?.fields ?? {
      ...this.#place(result.place ?? {}),
      tool_call_id: usableId(result.toolCallId),
      name: result.tool,
      step_kind: 'tool_call' as const,
    };
    this.#closeTool(key);
    this.#record(result.status === 'completed' ? 'tool.call.completed' : 'tool.call.failed', {
      ...fields,
      event_id: result.eventId,
      ...AFTER,
      metadata: {
        tool_name: fields.name ?? result.tool,
        status: result.status,
        cost_usd: this.#amount('costUsd', result.costUsd),
        released: result.neverRan === true || undefined,
        message: result.error === undefined ? undefined : errorText(result.error),
      },
    });
  }

  record(event: AgentEventInput): void {
    this.#ports.record({ ...this.#ids, sequence: this.#next(), ...definedOnly(event) });
  }

  finance(amounts: RunFinance): void {
    this.#record('finance.recorded', {
      event_phase: 'state',
      policy_stage: 'audit_only',
      step_kind: 'unknown',
      metadata: this.#amounts(amounts),
    });
  }

  async pause(message: string): Promise<void> {
    this.#record('approval.requested', {
      event_phase: 'state',
      step_kind: 'approval',
      metadata: { status: 'paused', message: errorText(message) },
    });
    await this.#ports.deliver(this.runId);
  }

  async end(end: RunEnd): Promise<void> {
    // A refusal that was handled, and the run resumed since, may still be behind what it fails of now.
    const isPaused = this.#ended === undefined && isPausedRun(this.runId, end.error) && (await this.#ports.isPaused(this.runId));
    await (isPaused ? this.#ports.deliver(this.runId) : (this.#ended ??= this.#end(end)));
  }

  async #end(end: RunEnd): Promise<void> {
    const isCompleted = end.status === 'completed';
    this.#record(isCompleted ? 'run.completed' : 'run.failed', {
      ...this.#place({}),
      ...AFTER,
      name: this.#options.name,
      step_kind: isCompleted ? 'final_answer' : 'error_recovery',
      metadata: { status: end.status, message: end.reason === undefined ? undefined : errorText(end.reason), ...this.#amounts(end) },
    });
    this.#ports.forget(this.runId);
    await this.#ports.deliver(this.runId);
  }

  #record(type: string, fields: EventFields): void {
    this.#ports.record(this.#event(type, fields));
  }

  #ask(type: string, fields: EventFields): Promise<Decision> {
    return this.#ports.ask(this.#event(type, fields));
  }

  /** Every event states what it is, so that no gateway has to guess (facts §2c, gotchas). */
  #event(type: string, { metadata, ...fields }: EventFields): AgentEventInput {
    return {
      ...this.#ids,
      step_source: 'runtime',
      step_confidence: 'high',
      sequence: this.#next(),
      ...definedOnly(fields),
      type,
      metadata: definedOnly(metadata ?? {}),
    };
  }

  #next(): number {
    this.#sequence += 1;
    return this.#sequence;
  }

  #place(place: CallPlace): EventFields {
    const { context } = this;
    const of = usableIds(definedOnly(place));
    return {
      step_id: of.stepId ?? context.stepId,
      parent_step_id: of.parentStepId ?? context.parentStepId,
      graph_node: of.graphNode ?? context.graphNode,
      handoff_id: of.handoffId ?? context.handoffId,
      agent_id: of.agentId ?? context.agentId,
      agent_name: of.agentName ?? (of.agentId === undefined ? context.agentName : undefined),
      iteration: place.iteration ?? context.iteration,
      attempt: place.attempt ?? context.attempt,
      state_hash: context.stateHash,
    };
  }

  /** The open call of an id: of the attempt stated, else the newest. */
  #openKey(toolCallId: string, attempt: number | undefined): string {
    if (attempt !== undefined) return toolKey(toolCallId, attempt);
    const prefix = `${toolCallId}\n`;
    const keys = [...this.#openTools.keys(), ...this.#endedTools].filter((key) => key.startsWith(prefix));
    return keys.findLast((key) => this.#openTools.has(key)) ?? keys.at(-1) ?? toolKey(toolCallId, undefined);
  }

  #closeTool(key: string): void {
    this.#openTools.delete(key);
    this.#endedTools.add(key);
  }

  #hash(input: unknown): string | undefined {
    try {
      return inputHash(input);
    } catch (error) {
      this.#ports.onProblem({
        code: 'event_invalid',
        message: `A tool's input can't be fingerprinted, so loops of it are not seen: ${errorText(error)}`,
      });
      return undefined;
    }
  }

  #amounts({ revenueUsd, outboundUsd, feesUsd }: RunFinance): EventMetadata {
    return {
      revenue_usd: this.#amount('revenueUsd', revenueUsd),
      outbound_usd: this.#amount('outboundUsd', outboundUsd),
      fees_usd: this.#amount('feesUsd', feesUsd),
    };
  }

  #amount(name: string, text: string | undefined): string | undefined {
    if (text === undefined) return undefined;
    const amount = METADATA_FIELDS.cost_usd.safeParse(text);
    if (amount.success) return amount.data;
    this.#ports.onProblem({
      code: 'event_invalid',
      message: `${name} ${JSON.stringify(redactText(String(text)))} is no dollar amount such as "0.086" and is left out, so it counts as unknown.`,
    });
    return undefined;
  }
}

/** Why a call was not made under the failure policy `closed`. */
const NO_ANSWER = 'the gateway gave no answer, so it was not made';

const AFTER = { event_phase: 'after', policy_stage: 'post_action' } as const;

function toolKey(toolCallId: string, attempt: number | undefined): string {
  return `${toolCallId}\n${attempt ?? 1}`;
}

function placeOf({ stepId, parentStepId, graphNode, agentId, agentName, handoffId, iteration, attempt }: CallPlace): CallPlace {
  return { stepId, parentStepId, graphNode, agentId, agentName, handoffId, iteration, attempt };
}
