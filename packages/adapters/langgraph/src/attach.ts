import { BaseCallbackHandler } from '@langchain/core/callbacks/base';
import type { LLMResult } from '@langchain/core/outputs';
import {
  orThrow,
  redactText,
  RefusedError,
  refusalOf,
  runEndOf,
  RunpurseError,
  type CallPlace,
  type Decision,
  type GatewayClient,
} from '@runpurse/core';
import { createClient, type NodeClientOptions } from '@runpurse/core/axios';
import { Departure } from './departure.ts';
import { endCall, reportCall, startCall, type Call } from './carry.ts';
import { Spans, type Live, type Span } from './spans.ts';
import { allowedBefore, ToolNames } from './tool-calls.ts';
import {
  agentOf,
  answerOf,
  attemptOf,
  endpointOf,
  failureOf,
  isBubbleUp,
  isCancellation,
  isNode,
  isResume,
  modelOf,
  namespaceOf,
  nodeOf,
  runOf,
  statedBy,
  type Metadata,
  type RunpurseMetadata,
} from './translate.ts';

/** What belongs to no run in particular (`agentId`, `workflowId`, …) is the default of each run. */
export interface RunpurseOptions extends RunpurseMetadata, Pick<NodeClientOptions, 'failurePolicy' | 'dialect' | 'onProblem'> {
  /** The gateway's address. A model call sent there is carried; any other is authorized before and reported after. */
  readonly baseUrl: string;
  /** The virtual key. */
  readonly apiKey: string;
  /** A client of your own instead of one made from these options. */
  readonly client?: GatewayClient | undefined;
  /** Told about faults of this adapter, which the host never feels. Default: a warning on the console. */
  readonly onFault?: ((error: unknown) => void) | undefined;
}

/** LangGraph tells handlers with this mark about interrupts: its `GraphCallbackHandler`, known without importing it. */
const HEARS_INTERRUPTS: unique symbol = Symbol.for('langgraph.graph_callback_handler') as never;
const ERROR_TEXT_MAX = 500;

/**
 * Attaches Runpurse to any LangGraph graph or LangChain runnable: pass it in `callbacks`. It reports the run and its
 * steps, asks before model and tool calls, and throws where the gateway says no. One handler serves any number of runs.
 */
export class RunpurseCallbackHandler extends BaseCallbackHandler {
  override readonly name = 'runpurse';
  override readonly raiseError = true;
  override readonly awaitHandlers = true;
  readonly [HEARS_INTERRUPTS] = true;
  readonly client: GatewayClient;
  readonly #options: RunpurseOptions;
  readonly #defaults: RunpurseMetadata;
  readonly #spans = new Spans();

  constructor(options: RunpurseOptions) {
    super();
    const { baseUrl, apiKey, client, failurePolicy, dialect, onProblem, onFault: _onFault, ...defaults } = options;
    this.#options = options;
    this.#defaults = defaults;
    this.client = client ?? createClient({ source: 'langgraph', baseUrl, apiKey, failurePolicy, dialect, ...(onProblem && { onProblem }) });
  }

  /** LangChain declares another order of arguments than it calls with: the fourth is the parent, the eighth the name. */
  override async handleChainStart(
    chain: unknown,
    inputs: unknown,
    runId: string,
    parentRunId?: string,
    tags?: string[],
    metadata?: Metadata,
    _runType?: string,
    runName?: string,
  ): Promise<void> {
    await this.#guard(async () => {
      const span = await this.#open(runId, parentRunId, runName, metadata, isResume(inputs));
      if (span.isRoot) return;
      const node = isNode(metadata, tags) ? namespaceOf(metadata) : undefined;
      if (node !== undefined) span.live.departure.nodeBegan(runId);
      const agent = agentOf(chain, runName);
      // An agent behind a tool is that tool's call; elsewhere it is a step of its own.
      const isTool = this.#spans.get(parentRunId)?.tool !== undefined;
      const step =
        agent === undefined || isTool
          ? undefined
          : span.live.run.step({ ...this.#place(runId, span, metadata), name: agent, kind: 'handoff', agentId: agent });
      this.#spans.set(runId, { ...span, node, step, agentId: agent ?? span.agentId, parentStepId: step?.stepId ?? span.parentStepId });
    });
  }

  override async handleChainEnd(_outputs: unknown, runId: string): Promise<void> {
    await this.#guard(async () => {
      const span = this.#spans.get(runId);
      span?.live.departure.nodeEnded(runId);
      span?.step?.complete();
      if (span?.isRoot === true) await this.#end(span.live, undefined);
    });
  }

  override async handleChainError(error: unknown, runId: string): Promise<void> {
    await this.#guard(async () => {
      const span = this.#spans.get(runId);
      if (span === undefined) return;
      span.live.departure.nodeEnded(runId);
      if (span.node !== undefined && !isBubbleUp(error)) this.#failNode(span.live, span.node, error);
      if (isBubbleUp(error)) span.step?.complete();
      else span.step?.fail(error);
      if (span.isRoot) await this.#end(span.live, error);
    });
  }

  /** LangGraph calls this when the root graph pauses, before the root's own end. */
  handleInterrupt(event: { readonly runId?: string | undefined }): void {
    const span = this.#spans.get(event.runId);
    if (span?.isRoot === true) span.live.isInterrupted = true;
  }

  override async handleChatModelStart(
    llm: unknown,
    messages: unknown,
    runId: string,
    parentRunId?: string,
    extra?: Metadata,
    _tags?: string[],
    metadata?: Metadata,
    runName?: string,
  ): Promise<void> {
    await this.#guard(async () => {
      const span = await this.#open(runId, parentRunId, runName, metadata);
      const { live } = span;
      const place = this.#place(runId, span, metadata);
      const asked = modelOf(messages, extra, metadata);
      const call = startCall(runId, { run: live.run, gateway: this.#options.baseUrl, place, asked }, endpointOf(llm));
      live.departure.watch(call.graphSignal);
      await this.#ask(
        span,
        () => live.run.authorizeModel({ ...place, ...asked, carried: call.isCarried }),
        () => endCall(runId),
      );
    });
  }

  override handleLLMStart(
    llm: unknown,
    prompts: string[],
    runId: string,
    parentRunId?: string,
    extra?: Metadata,
    tags?: string[],
    metadata?: Metadata,
    runName?: string,
  ): Promise<void> {
    return this.handleChatModelStart(llm, prompts, runId, parentRunId, extra, tags, metadata, runName);
  }

  override async handleLLMEnd(output: LLMResult, runId: string): Promise<void> {
    await this.#endModel(runId, undefined, () => answerOf(output));
  }

  override async handleLLMError(error: unknown, runId: string): Promise<void> {
    await this.#endModel(runId, error, () => failureOf(error));
  }

  override async handleToolStart(
    tool: unknown,
    input: string,
    runId: string,
    parentRunId?: string,
    _tags?: string[],
    metadata?: Metadata,
    runName?: string,
    toolCallId?: string,
  ): Promise<void> {
    await this.#guard(async () => {
      const span = await this.#open(runId, parentRunId, runName, metadata);
      const { live } = span;
      const name = runName ?? (tool as { readonly name?: string }).name ?? 'tool';
      const namespace = namespaceOf(metadata);
      const call = { namespace, tool: name, attempt: attemptOf(namespace, live.failures), given: toolCallId };
      const { stepId, toolCallId: id } = live.toolNames.nameOf(call, runId);
      const paid = live.paid.get(stepId);
      if (paid === undefined)
        await this.#ask(span, () => live.run.authorizeTool({ ...this.#place(stepId, span, metadata), tool: name, toolCallId: id, input }));
      const hold = paid ?? { settle: (result) => live.run.settleTool({ toolCallId: id, ...result }) };
      live.tools.set(stepId, hold);
      this.#spans.set(runId, { ...span, tool: hold, parentStepId: paid === undefined ? stepId : span.parentStepId });
    });
  }

  override async handleToolEnd(output: unknown, runId: string): Promise<void> {
    const failed = (output as { readonly status?: unknown } | null)?.status === 'error';
    await this.#endTool(runId, failed ? 'failed' : 'completed', failed ? new Error('the tool answered with status "error"') : undefined);
  }

  override async handleToolError(error: unknown, runId: string): Promise<void> {
    // Interrupted, it was neither completed nor failed: its hold stays for the resumed run.
    if (!isBubbleUp(error)) await this.#endTool(runId, 'failed', error);
  }

  /** Where a request without LangChain callbacks of its own stands, made somewhere below a LangChain run. */
  callAt(langchainRunId: string, metadata: Metadata | undefined): Call | undefined {
    const span = this.#spans.get(langchainRunId);
    return (
      span && {
        run: span.live.run,
        gateway: this.#options.baseUrl,
        place: this.#place(crypto.randomUUID(), span, metadata),
        isCarried: true,
        tries: 0,
      }
    );
  }

  async #open(
    runId: string,
    parentRunId: string | undefined,
    name: string | undefined,
    metadata: Metadata | undefined,
    isResumed = false,
  ): Promise<Span> {
    const parent = this.#spans.get(parentRunId);
    if (parent !== undefined) {
      const { live, parentStepId, agentId } = parent;
      return this.#spans.set(runId, { live, isRoot: false, parentStepId, agentId });
    }
    const { thread_id } = metadata ?? {};
    const threadId = typeof thread_id === 'string' ? thread_id : undefined;
    const run = this.client.run(runOf(runId, name, metadata, this.#defaults));
    const live: Live = {
      run,
      threadId,
      failures: new Map(),
      toolNames: new ToolNames(threadId),
      paid: this.#spans.paidIn(threadId),
      tools: new Map(),
      spanIds: new Set(),
      departure: new Departure(() => void this.#guard(() => this.#end(live, new DOMException('left before its end', 'AbortError')))),
      isInterrupted: false,
      isEnded: false,
    };
    const span = this.#spans.set(runId, { live, isRoot: true });
    const decision = await run.start();
    if (!decision.proceed) this.#spans.forget(live);
    orThrow(decision);
    if (isResumed && threadId !== undefined) live.paid = new Map([...(await allowedBefore(this.client, run.sessionId)), ...live.paid]);
    return span;
  }

  #place(stepId: string, span: Span, metadata: Metadata | undefined): CallPlace & { readonly stepId: string } {
    const attempt = attemptOf(namespaceOf(metadata), span.live.failures);
    return { stepId, parentStepId: span.parentStepId, agentId: statedBy(metadata).agentId ?? span.agentId, attempt, ...nodeOf(metadata) };
  }

  /** Throws the refusal, after ending a run that was nothing but this call. */
  async #ask(span: Span, question: () => Promise<Decision>, onRefused: () => void = () => {}): Promise<void> {
    const decision = await question();
    if (decision.proceed) return;
    onRefused();
    if (span.isRoot) await this.#end(span.live, decision.type === 'denied' ? new RefusedError(decision.refusal) : decision.error);
    orThrow(decision);
  }

  async #endModel(runId: string, error: unknown, result: () => Parameters<typeof reportCall>[1]): Promise<void> {
    await this.#guard(async () => {
      const span = this.#spans.get(runId);
      const call = endCall(runId);
      if (span === undefined || call === undefined) return;
      // A call the gateway refused was not made: there is nothing to report.
      if (error === undefined || refusalOf(error) === undefined) reportCall(call, result());
      if (span.isRoot) await this.#end(span.live, error);
    });
  }

  async #endTool(runId: string, status: 'completed' | 'failed', error: unknown): Promise<void> {
    await this.#guard(async () => {
      const span = this.#spans.get(runId);
      span?.tool?.settle({ status, error });
      if (span?.isRoot === true) await this.#end(span.live, status === 'failed' ? error : undefined);
    });
  }

  async #end(live: Live, error: unknown): Promise<void> {
    if (live.isEnded) return;
    live.isEnded = true;
    const { run } = live;
    if (error !== undefined && !isBubbleUp(error)) this.#abandon(live);
    const isPaused = live.isInterrupted || isBubbleUp(error);
    this.#spans.retire(live, isPaused);
    // Someone is asked; the answer comes as another run of the session, so this one stays open.
    await (isPaused ? run.pause('interrupted, waiting to be resumed') : run.end(runEndOf(error, isCancellation(error))));
  }

  /** A node is no step, but that it failed is why what comes next is a retry. */
  #failNode({ run, failures }: Live, namespace: string, error: unknown): void {
    failures.set(namespace, (failures.get(namespace) ?? 0) + 1);
    if (isCancellation(error) || refusalOf(error) !== undefined) return;
    const name = namespace.split('|').at(-1)?.split(':')[0];
    const message = redactText(error instanceof Error ? error.message : String(error)).slice(0, ERROR_TEXT_MAX);
    run.record({
      type: 'step.failed',
      step_kind: 'error_recovery',
      event_phase: 'after',
      policy_stage: 'post_action',
      name,
      graph_node: name,
      metadata: { status: 'failed', message },
    });
  }

  /** Calls still under way when their run fails or is cancelled: their own end comes late or never. */
  #abandon({ spanIds }: Live): void {
    for (const id of spanIds) {
      const call = endCall(id);
      if (call !== undefined) reportCall(call, { status: 'aborted', error: new Error('its run ended first') });
      this.#spans.get(id)?.tool?.settle({ status: 'failed', error: new Error('its run ended first') });
    }
  }

  /** A refusal is the answer; any other throw is a fault of ours and ends here. */
  async #guard(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (RunpurseError.isInstance(error)) throw error;
      (this.#options.onFault ?? ((fault: unknown) => console.warn('Runpurse: a fault in the LangGraph adapter, your run goes on.', fault)))(
        error,
      );
    }
  }
}
