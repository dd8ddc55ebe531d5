import { getCurrentSpan, type Model, type ModelRequest, type ModelResponse, type StreamEvent } from '@openai/agents';
import { orThrow, refusalOf, RunpurseError, type ModelResult } from '@runpurse/core';
import { attemptOf, meteredFetch, type FetchedCall } from '@runpurse/core/fetch';
import { APIUserAbortError } from 'openai';
import { frames, type Frame, type Host, type Live } from './live.ts';
import { forgetTraced } from './traces.ts';
import {
  boundsOf,
  failureOf,
  hostedToolsOf,
  modelOf,
  modelOfFrame,
  thrown,
  turnOf,
  unreadableCallsOf,
  usageOf,
  usageOfFrame,
  usageOfText,
  type Answer,
  type Failure,
} from './translate.ts';

/** One model call from its question to its end. */
export interface Call extends FetchedCall {
  readonly live: Live;
  readonly asked: NonNullable<FetchedCall['asked']>;
  readonly input: unknown;
  /** The provider's answer as its client read it, kept in case that the SDK throws instead of answering. */
  reply?: string | undefined;
}

/** A model whose calls are asked for, carried or reported: the one place where the SDK's model calls pass. */
export class MeteredModel implements Model {
  readonly #model: Model;
  readonly #name: string;
  readonly #host: Host;
  readonly #isCarried: boolean;

  constructor(model: Model, name: string, host: Host, isCarried: boolean) {
    this.#model = model;
    this.#name = name;
    this.#host = host;
    this.#isCarried = isCarried;
  }

  get supportsPromptModelSelection(): boolean {
    return this.#model.supportsPromptModelSelection ?? false;
  }

  /** A refusal stays one: the SDK's retry policies are told not to ask again. */
  getRetryAdvice(args: Parameters<NonNullable<Model['getRetryAdvice']>>[0]): ReturnType<NonNullable<Model['getRetryAdvice']>> {
    const isFinal = RunpurseError.isInstance(args.error) || refusalOf(args.error) !== undefined;
    return isFinal ? { suggested: false, replaySafety: 'unsafe', reason: 'Runpurse refused the call' } : this.#model.getRetryAdvice?.(args);
  }

  async getResponse(request: ModelRequest): Promise<ModelResponse> {
    const { call, frame, end } = await this.#begin(request);
    try {
      const response = await frames.run(frame, () => this.#model.getResponse(withRawUsage(request)));
      this.#host.guard(() => answered(call, response));
      await end(undefined);
      return response;
    } catch (error) {
      this.#host.guard(() => failed(call, thrown(error), request.signal?.aborted === true, usageOfText(call.reply)));
      await end(thrown(error));
      throw error;
    }
  }

  async *getStreamedResponse(request: ModelRequest): AsyncGenerator<StreamEvent> {
    const { call, frame, end } = await this.#begin(request);
    let failure: Failure | undefined;
    let model: string | undefined;
    let usage: ModelResult['usage'];
    const stream = frames.run(frame, () => this.#model.getStreamedResponse(withRawUsage(request))[Symbol.asyncIterator]());
    try {
      for (;;) {
        // Each step runs inside the call: a generator's body runs where it is pulled from.
        const step = await frames.run(frame, () => stream.next());
        if (step.done === true) break;
        const { value: event } = step;
        if (event.type === 'model') {
          model ??= modelOfFrame(event.event);
          usage = this.#host.guard(() => usageOfFrame(event.event)) ?? usage;
        }
        // Aborted, the OpenAI client ends its stream as if it were whole.
        if (event.type === 'response_done' && request.signal?.aborted !== true)
          this.#host.guard(() => answered(call, event.response as unknown as Answer, model));
        yield event;
      }
    } catch (error) {
      const why = (failure = thrown(error));
      this.#host.guard(() => failed(call, why, request.signal?.aborted === true, usage));
      throw error;
    } finally {
      await frames.run(frame, async () => stream.return?.());
      this.#host.guard(() => failed(call, thrown(new Error('the stream was left before its end')), true, usage));
      await end(failure);
    }
  }

  /** Asks. Throws what the SDK hands on to its user when the call may not be made. */
  async #begin(request: ModelRequest) {
    // As its client would throw it, had it been asked: nothing is sent, so nothing is held.
    if (request.signal?.aborted === true) throw new APIUserAbortError();
    const turn = turnOf(getCurrentSpan());
    const outer = frames.getStore();
    const agentId = turn.agentId ?? outer?.agentName;
    const { live, endAfter } = this.#host.liveFor(agentId);
    const before = typeof request.input === 'object' ? live.failed.get(request.input) : undefined;
    const attempt = (before?.attempts ?? 0) + 1;
    const place = { ...turn, agentId, parentStepId: outer?.parentStepId, stepId: before?.stepId ?? crypto.randomUUID(), attempt };
    // The gateway reads the bounds of a carried call off the call itself.
    const asked = { model: this.#name, ...(!this.#isCarried && this.#host.guard(() => boundsOf(request))) };
    const { run, gateway } = live;
    const call: Call = { live, run, gateway, place, asked, input: request.input, isCarried: this.#isCarried, tries: 0 };
    const end = async (failure: Failure | undefined): Promise<void> => endAfter?.(failure);
    const begun = await live.run.start();
    if (!begun.proceed) forgetTraced(live);
    orThrow(begun);
    try {
      orThrow(await live.run.authorizeModel({ ...place, ...asked, carried: call.isCarried }));
    } catch (error) {
      live.failure = thrown(error);
      await end(live.failure);
      throw error;
    }
    live.calls.add(call);
    const frame: Frame = { ...outer, live, call };
    return { call, frame, end };
  }
}

/** The provider's own count has to be kept: without it the SDK can't tell 0 from unknown. */
function withRawUsage(request: ModelRequest): ModelRequest {
  return { ...request, modelSettings: { ...request.modelSettings, preserveRawUsage: true } };
}

function answered(call: Call, answer: Answer, streamedModel?: string): void {
  const { live, place, asked, isCarried: carried, requestId } = call;
  if (!live.calls.delete(call)) return;
  live.failure = undefined;
  const model = modelOf(answer) ?? streamedModel ?? asked.model;
  live.run.recordModel({ ...place, attempt: attemptOf(call), carried, requestId, model, usage: usageOf(answer) });
  live.unreadable.push(...unreadableCallsOf(answer.output));
  // Tools that ran at the provider: part of the call, priced with it, and shown as steps inside it.
  for (const { name, failed: hasFailed } of hostedToolsOf(answer.output)) {
    const step = live.run.step({ name, kind: 'tool_call', parentStepId: place.stepId, agentId: place.agentId });
    if (hasFailed) step.fail(new Error('the provider says it failed'));
    else step.complete();
  }
}

/** Says how a call failed, once. A call the gateway refused was not made: there is nothing to report. */
export function failed(call: Call, failure: Failure, isAborted: boolean, usage?: ModelResult['usage']): void {
  const { live, place, asked, isCarried: carried, requestId, input } = call;
  if (!live.calls.delete(call)) return;
  live.failure = failure;
  if (refusalOf(failure.error) !== undefined) return;
  const attempt = attemptOf(call);
  const ended = failureOf(failure.error, isAborted);
  if (typeof input === 'object' && input !== null) live.failed.set(input, { stepId: place.stepId, attempts: attempt });
  live.run.recordModel({ ...place, attempt, carried, requestId, model: asked.model, ...ended, usage: usage ?? ended.usage });
}

/**
 * A `fetch` for model clients: adds the headers of the call it is made for when it goes to the gateway, and asks for each
 * try of the client's own when it goes elsewhere. `runpurse.models()` installs it.
 */
export function runpurseFetch(inner?: typeof fetch): typeof fetch {
  const callHere = (): Call | undefined => frames.getStore()?.call;
  const metered = meteredFetch(callHere, inner);
  return async (input, init) => {
    const response = await metered(input, init);
    const call = callHere();
    if (call !== undefined && response.ok) call.live.host.guard(() => keepReply(call, response));
    return response;
  };
}

/** The SDK takes a response that failed or is incomplete for none, but it was billed. */
function keepReply(call: Call, response: Response): void {
  const read = response.text.bind(response);
  Object.assign(response, { text: async () => (call.reply = await read()) });
}
