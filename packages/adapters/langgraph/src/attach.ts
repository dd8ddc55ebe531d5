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
import { attemptOf as lastAttemptOf } from '@runpurse/core/fetch';
import { abandonCall, endCall, reportCall, runAround, startCall, unlessSent, type Call } from './carry.ts';
import { Departure, endOf, LEFT } from './departure.ts';
import { Spans, type Beginning, type Live, type Span } from './spans.ts';
import { allowedBefore, ToolNames } from './tool-calls.ts';
import {
  agentOf,
  answerOf,
  attemptOf,
  endpointOf,
  failureOf,
  fingerprintOf,
  fromCache,
  isAbort,
  isBubbleUp,
  isCancellation,
  isNode,
  isResume,
  modelOf,
  namespaceOf,
  nodeOf,
  runOf,
  statedBy,
  threadOf,
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
  /** Told about faults of this adapter; the host feels them only where `failurePolicy` is closed. Default: a warning on the console. */
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
  readonly #spans: Spans;

  constructor(options: RunpurseOptions) {
    super();
    const { baseUrl, apiKey, client, failurePolicy, dialect, onProblem, onFault: _onFault, ...defaults } = options;
    this.#options = options;
    this.#defaults = defaults;
    this.#spans = new Spans(`${baseUrl} ${apiKey}`, this);
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
    await this.#begin([runId, parentRunId, runName, metadata, isResume(inputs)], (span) => {
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
      if (!span.isRoot && typeof error === 'object' && error !== null) span.live.thrown.add(error);
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
    await this.#begin([runId, parentRunId, runName, metadata], async (span) => {
      const { live } = span;
      const here = this.#place(runId, span, metadata);
      const fingerprint = (): string => fingerprintOf(here, messages);
      const again = live.retries.size === 0 ? undefined : live.retries.get(fingerprint());
      const place = { ...here, attempt: Math.max(here.attempt, again ?? 1) };
      const asked = modelOf(messages, extra, metadata);
      const leave = (): Promise<void> => this.handleLLMError(LEFT, runId);
      const { baseUrl: gateway } = this.#options;
      const call = startCall(runId, { run: live.run, gateway, place, asked, fingerprint, leave }, endpointOf(llm));
      live.departure.watch(call.graphSignals);
      await this.#ask(
        span,
        () => live.run.authorizeModel({ ...place, ...asked, carried: call.isCarried }),
        () => endCall(runId, live.run),
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

  override async handleLLMEnd(output: LLMResult, runId: string, _parent?: string, _tags?: string[], extra?: Metadata): Promise<void> {
    await this.#endModel(runId, undefined, () => ({ ...answerOf(output), ...fromCache(extra) }));
  }

  override async handleLLMError(error: unknown, runId: string, _parent?: string, _tags?: string[], extra?: Metadata): Promise<void> {
    await this.#endModel(runId, error, () => ({ ...failureOf(error), ...fromCache(extra) }));
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
    await this.#begin([runId, parentRunId, runName, metadata], async (span) => {
      const { live } = span;
      const { run } = live;
      const tried = runName ?? (tool as { readonly name?: string }).name ?? 'tool';
      const namespace = namespaceOf(metadata);
      const nodeAttempt = attemptOf(namespace, live.failures);
      const name = live.toolNames.nameOf({ namespace, tool: tried, attempt: nodeAttempt, given: toolCallId, input });
      const { stepId, toolCallId: id, attempt } = name;
      const paid = live.paid.get(stepId);
      live.paid.delete(stepId);
      if (paid === undefined)
        await this.#ask(
          span,
          () => run.authorizeTool({ ...this.#place(stepId, span, metadata), attempt, tool: tried, toolCallId: id, input }),
          (error) => {
            live.toolNames.failed(name);
            Object.assign(error, OF_A_TOOL);
          },
        );
      const hold = paid ?? { settle: (result) => run.settleTool({ toolCallId: id, place: { attempt }, ...result }) };
      live.tools.set(stepId, hold);
      // Another handler may have ended it all while this one asked.
      if (live.isEnded) hold.settle({ status: 'failed', error: new Error('its run ended first') });
      this.#spans.set(runId, { ...span, tool: { name, hold }, parentStepId: paid === undefined ? stepId : span.parentStepId });
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

  /** Something begins, in its run. A fault of ours leaves it alone, with all that begins below it, unless the user wants it closed. */
  async #begin(beginning: Beginning, work: (span: Span) => void | Promise<void>): Promise<void> {
    const [runId, parentRunId] = beginning;
    // Or another handler of this gateway hears of it too, and was first: it tells of all below.
    if (this.#spans.isLost(parentRunId) || this.#spans.findBeside(runId) !== undefined) return this.#spans.lose(runId);
    try {
      await work(await this.#open(beginning));
    } catch (error) {
      if (RunpurseError.isInstance(error)) throw error;
      if (this.#spans.get(runId) === undefined) this.#spans.lose(runId);
      this.#tell(error);
      if (this.#options.failurePolicy?.authorize === 'closed') throw unasked(error);
    }
  }

  async #open([runId, parentRunId, name, metadata, isResumed = false]: Beginning): Promise<Span> {
    const parent = this.#spans.find(parentRunId) ?? this.#spans.find(runAround(metadata));
    if (parent !== undefined) {
      const { live, parentStepId, agentId } = parent;
      return this.#spans.set(runId, { live, isRoot: false, parentStepId, agentId });
    }
    const threadId = threadOf(metadata);
    const run = this.client.run(runOf(runId, name, metadata, this.#defaults));
    const live: Live = {
      run,
      threadId,
      failures: new Map(),
      retries: new Map(),
      thrown: new WeakSet(),
      toolNames: new ToolNames(run, threadId),
      paid: new Map(this.#spans.paidIn(threadId)),
      tools: new Map(),
      spanIds: new Set(),
      departure: new Departure(() => void this.#guard(() => this.#end(live, LEFT))),
      isInterrupted: false,
      isEnded: false,
    };
    const span = this.#spans.set(runId, { live, isRoot: true });
    const decision = await run.start();
    if (!decision.proceed) this.#spans.forget(live);
    orThrow(decision);
    if (isResumed && threadId !== undefined)
      for (const [stepId, hold] of [...(await allowedBefore(this.client, run.sessionId)), ...live.paid]) live.paid.set(stepId, hold);
    return span;
  }

  #place(stepId: string, span: Span, metadata: Metadata | undefined): CallPlace & { readonly stepId: string; readonly attempt: number } {
    const attempt = attemptOf(namespaceOf(metadata), span.live.failures);
    return { stepId, parentStepId: span.parentStepId, agentId: statedBy(metadata).agentId ?? span.agentId, attempt, ...nodeOf(metadata) };
  }

  /** Throws the refusal, after ending a run that was nothing but this call. */
  async #ask(span: Span, question: () => Promise<Decision>, onRefused: (error: RunpurseError) => void): Promise<void> {
    const decision = await question();
    if (decision.proceed) return;
    const error = decision.type === 'denied' ? new RefusedError(decision.refusal) : decision.error;
    onRefused(error);
    if (span.isRoot) await this.#end(span.live, error);
    throw error;
  }

  async #endModel(runId: string, error: unknown, result: () => Parameters<typeof reportCall>[1]): Promise<void> {
    await this.#guard(async () => {
      const span = this.#spans.get(runId);
      const call = span && endCall(runId, span.live.run);
      if (span === undefined || call === undefined) return;
      // A call the gateway refused was not made: there is nothing to report. One past it was refused by another gateway, after ours allowed it.
      if (refusalOf(error) === undefined || !(call.isCarried || call.tries > 1)) this.#report(span.live, call, error, result());
      if (span.isRoot) await this.#end(span.live, error);
    });
  }

  /** What failed and is made again, by whomever, is a retry. */
  #report({ retries }: Live, call: Call, error: unknown, result: Parameters<typeof reportCall>[1]): void {
    reportCall(call, error === undefined ? result : { ...result, ...unlessSent(call) });
    if (error !== undefined && result.status !== 'aborted' && call.fingerprint !== undefined)
      retries.set(call.fingerprint(), lastAttemptOf(call) + 1);
    else if (retries.size > 0) retries.delete(call.fingerprint?.() ?? '');
  }

  async #endTool(runId: string, status: 'completed' | 'failed', error: unknown): Promise<void> {
    await this.#guard(async () => {
      const span = this.#spans.get(runId);
      if (span?.tool !== undefined) {
        span.tool.hold.settle({ status, error });
        if (status === 'failed') span.live.toolNames.failed(span.tool.name);
      }
      if (span?.isRoot === true) await this.#end(span.live, status === 'failed' ? error : undefined);
    });
  }

  async #end(live: Live, error: unknown): Promise<void> {
    if (live.isEnded) return;
    live.isEnded = true;
    const { run } = live;
    const isPaused = live.isInterrupted || isBubbleUp(error);
    if (!isPaused) this.#abandon(live);
    this.#spans.retire(live, isPaused);
    // Someone is asked; the answer comes as another run of the session, so this one stays open.
    await (isPaused ? run.pause('interrupted, waiting to be resumed') : run.end(endOf(live, error)));
  }

  /** A node is no step, but that it failed is why what comes next is a retry. */
  #failNode({ run, failures }: Live, namespace: string, error: unknown): void {
    failures.set(namespace, (failures.get(namespace) ?? 0) + 1);
    if (isCancellation(error) || isAbort(error) || refusalOf(error) !== undefined) return;
    const name = namespace.split('|').at(-1)?.split(':')[0];
    const message = redactText(runEndOf(error).reason ?? 'failed').slice(0, ERROR_TEXT_MAX);
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
  #abandon({ run, spanIds }: Live): void {
    for (const id of spanIds) {
      abandonCall(id, run);
      this.#spans.find(id)?.tool?.hold.settle({ status: 'failed', error: new Error('its run ended first') });
    }
  }

  /** A refusal is the answer; any other throw is a fault of ours and ends here. */
  async #guard(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (RunpurseError.isInstance(error)) throw error;
      this.#tell(error);
    }
  }

  #tell(fault: unknown): void {
    const { onFault } = this.#options;
    if (onFault === undefined) console.warn('Runpurse: a fault in the LangGraph adapter.', fault);
    else onFault(fault);
  }
}

function unasked(fault: unknown): RunpurseError {
  const what = runEndOf(fault).reason ?? 'failed';
  const message = `Runpurse could not ask about this call (${what}), and failurePolicy.authorize is "closed", so it was not made.`;
  return new RunpurseError('adapter_fault', message, { cause: fault });
}

/** LangChain's mark of an error that its agents tell their model, whatever middleware lies around the tool. */
const OF_A_TOOL = { '~brand': 'ToolInvocationError' };
