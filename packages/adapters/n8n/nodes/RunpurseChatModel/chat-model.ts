import { randomUUID } from 'node:crypto';
import { BaseChatModel, parseSSEStream, type ChatModelConfig, type GenerateResult, type Message, type StreamChunk } from '@n8n/ai-node-sdk';
import type { CallPlace, Decision } from '@runpurse/core';
import { OperationalError, sleep } from 'n8n-workflow';
import { isObject, jsonOf, type GatewayReply } from '../shared/transport.ts';
import type { LiveRun } from './live-run.ts';
import { forget, release, settle } from './tool-calls.ts';
import {
  answerOf,
  collector,
  finishOf,
  messageOf,
  ownId,
  toolsOnWire,
  toWire,
  type Answer,
  type WireMessage,
  type WireToolCall,
} from './wire.ts';

/** What the node hands the model: its run, its place in it, and the way out. */
export interface ModelPorts {
  readonly live: LiveRun;
  readonly place: CallPlace;
  readonly body: object;
  readonly maxRetries: number;
  /** Whether each tool the model asks for is put to the gateway before n8n runs it. */
  readonly gatesTools: boolean;
  readonly signal: AbortSignal | undefined;
  post(call: PostedCall): Promise<PostedReply>;
  /** The error n8n shows for a reply that is none of a model. */
  errorOf(reply: GatewayReply): Error;
  unavailable(decision: Decision): Error;
}

export interface PostedCall {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: object;
  readonly isStreamed: boolean;
  readonly signal: AbortSignal | undefined;
}

export type PostedReply = GatewayReply & { readonly stream?: AsyncIterableIterator<Buffer> | undefined };

/** How often in a row a model may insist on denied tools before its answer is given as it is. */
const INSISTS_MAX = 5;
const RETRY_MS_FIRST = 250;
const RETRY_MS_MAX = 8_000;
/** A provider that asks for more is not waited for: a fallback model, Retry On Fail or the error output goes on from there. */
const RETRY_AFTER_MS_MAX = 60_000;

/**
 * A chat model whose every call goes through the gateway as a step of its own, and whose tools are asked for before n8n
 * runs them: a denied one n8n never hears of, the model is told instead.
 */
export class GatewayChatModel extends BaseChatModel {
  readonly #ports: ModelPorts;

  constructor(modelId: string, ports: ModelPorts, tools: BaseChatModel['tools'] = []) {
    super('runpurse', modelId, undefined, tools);
    this.#ports = ports;
  }

  override withTools(tools: BaseChatModel['tools']): ReturnType<BaseChatModel['withTools']> {
    const model: BaseChatModel = new GatewayChatModel(this.modelId, this.#ports, [...this.tools, ...tools]);
    return model as ReturnType<BaseChatModel['withTools']>;
  }

  async generate(messages: Message[], config?: ChatModelConfig): Promise<GenerateResult> {
    const turns = this.#turns(messages, config, false);
    for (;;) {
      const { done, value } = await turns.next();
      if (done !== true) continue;
      return {
        message: messageOf(value),
        finishReason: finishOf(value),
        ...(value.id !== undefined && { id: value.id }),
        ...(value.usage !== undefined && { usage: value.usage }),
        providerMetadata: { model_name: value.model ?? this.modelId },
      };
    }
  }

  async *stream(messages: Message[], config?: ChatModelConfig): AsyncIterable<StreamChunk> {
    const turns = this.#turns(messages, config, true);
    for (;;) {
      const { done, value } = await turns.next();
      if (done !== true) {
        yield { type: 'text-delta', delta: value };
        continue;
      }
      for (const call of value.toolCalls)
        yield { type: 'tool-call-delta', id: call.id, name: call.function.name, argumentsDelta: call.function.arguments || '{}' };
      yield { type: 'finish', finishReason: finishOf(value), ...(value.usage !== undefined && { usage: value.usage }) };
      return;
    }
  }

  /** Asks the model until its answer holds no denied tool; yields text as it comes. */
  async *#turns(messages: Message[], config: ChatModelConfig | undefined, isStreamed: boolean): AsyncGenerator<string, Answer> {
    const { live } = this.#ports;
    settle(live, messages);
    const conversation = messages.flatMap((message) => [...toldBefore(live, message), ...toWire(message, live.given)]);
    const told: WireMessage[] = [];
    for (let round = 1; ; round += 1) {
      const answer = yield* this.#call([...conversation, ...told], config, isStreamed);
      const { allowed, denied } = await this.#asked(answer.toolCalls.map((call) => ({ ...call, id: ownId(), given: call.id })));
      if (denied.length > 0) told.push(...toldOf(denied));
      const [seen] = allowed;
      if (seen !== undefined && told.length > 0) live.told.set(seen.id, told);
      for (const { id, given } of allowed) if (given !== '') live.given.set(id, given);
      if (seen === undefined && denied.length > 0 && round < INSISTS_MAX) continue;
      if (allowed.every(({ function: { name } }) => name === FINAL_ANSWER))
        forget(live, [...messages, messageOf({ ...answer, toolCalls: allowed })]);
      if (seen !== undefined || denied.length === 0) return { ...answer, toolCalls: allowed };
      return { ...answer, toolCalls: [], text: answer.text || denied.map(({ reason }) => reason).join('\n') };
    }
  }

  /** One call of the model, tried again as often as the node says when the provider failed. */
  async *#call(messages: readonly WireMessage[], config: ChatModelConfig | undefined, isStreamed: boolean): AsyncGenerator<string, Answer> {
    const { live, place, post, errorOf, maxRetries } = this.#ports;
    const signal = eitherOf(signalOf(config), this.#ports.signal);
    const stepId = `step_${randomUUID()}`;
    const body = {
      ...this.#ports.body,
      ...(config?.stopSequences !== undefined && { stop: config.stopSequences }),
      model: this.modelId,
      messages,
      ...(this.tools.length > 0 && { tools: toolsOnWire(this.tools) }),
      ...toolChoiceOf(config),
      ...(isStreamed && { stream: true, stream_options: { include_usage: true } }),
    };
    for (let attempt = 1; ; attempt += 1) {
      const headers = live.run.headers({ ...place, stepId, attempt, stepKind: 'llm_call' });
      const reply = await post({ headers, body, isStreamed, signal });
      if (reply.status < 300 && reply.stream !== undefined) return yield* read(reply.stream);
      const answer = reply.status < 300 ? answerOf(reply.body) : undefined;
      if (answer !== undefined) return answer;
      const mayTryAgain = reply.headers['x-should-retry'] !== 'false' && (reply.status === 429 || reply.status >= 500);
      const waitMs = waitOf(reply, attempt);
      if (!mayTryAgain || attempt > maxRetries || waitMs > RETRY_AFTER_MS_MAX) throw errorOf(reply);
      await pause(waitMs, signal);
    }
  }

  /** Tells apart what n8n is to run, and what it never hears of: the model is told why. */
  async #asked(calls: readonly AskedCall[]): Promise<{ readonly allowed: readonly AskedCall[]; readonly denied: readonly Denied[] }> {
    const allowed: AskedCall[] = [];
    const denied: Denied[] = [];
    let isWhole = false;
    try {
      for (const call of calls) {
        const reason = unreadableIn(call) ?? (await this.#refusalOf(call));
        if (reason === undefined) allowed.push(call);
        else denied.push({ call, reason });
      }
      isWhole = true;
    } finally {
      const { live } = this.#ports;
      const why = 'another tool of the same answer could not be asked for, so that none ran';
      for (const { id } of isWhole ? [] : allowed) release(live, id, why);
    }
    return { allowed, denied };
  }

  /** Puts a call to the gateway; undefined if it may run. */
  async #refusalOf({ id, function: called }: WireToolCall): Promise<string | undefined> {
    const { live, place, gatesTools, unavailable } = this.#ports;
    const names = this.tools.map(({ name }) => name);
    if (!gatesTools || names.length === 0 || (called.name === FINAL_ANSWER && names.includes(FINAL_ANSWER))) return undefined;
    if (!names.includes(called.name))
      return `There is no tool of this name. There are: ${names.filter((known) => known !== FINAL_ANSWER).join(', ')}`;
    const open = { tool: called.name, stepId: `step_${randomUUID()}` };
    const decision = await live.run.authorizeTool({ ...place, ...open, toolCallId: id, input: called.arguments });
    if (decision.type === 'denied') return `Not allowed: ${decision.refusal.message}`;
    if (!decision.proceed) throw unavailable(decision);
    live.open.set(id, open);
    return undefined;
  }
}

/** How n8n's agent has a model hand over an answer in a given form. It runs nothing and costs nothing. */
const FINAL_ANSWER = 'format_final_json_response';

/** A call by its own id, and the one its provider gave it. */
interface AskedCall extends WireToolCall {
  readonly given: string;
}

/** A call that n8n never hears of, and why. */
interface Denied {
  readonly call: AskedCall;
  readonly reason: string;
}

/** Cut or garbled arguments would be completed by n8n, and run as something that nobody asked for. */
function unreadableIn({ function: { arguments: given } }: WireToolCall): string | undefined {
  if (given === '' || jsonOf(given) !== undefined) return undefined;
  return `It did not run: its arguments are no JSON: ${given.slice(0, 200)}`;
}

function toldOf(denied: readonly Denied[]): WireMessage[] {
  const calls = denied.map(({ call: { id, given, function: called, type }, reason }) => ({
    call: { id: given || id, type, function: { ...called, arguments: jsonOf(called.arguments) === undefined ? '{}' : called.arguments } },
    reason,
  }));
  return [
    { role: 'assistant', content: null, tool_calls: calls.map(({ call }) => call) },
    ...calls.map(({ call, reason }) => ({ role: 'tool' as const, tool_call_id: call.id, content: reason })),
  ];
}

/** What the model was told before it made this call, so that it finds the conversation as it was. */
function toldBefore(live: LiveRun, { content }: Message): readonly WireMessage[] {
  return content.flatMap((part) => (part.type === 'tool-call' ? (live.told.get(part.toolCallId ?? '') ?? []) : []));
}

async function* read(stream: AsyncIterableIterator<Buffer>): AsyncGenerator<string, Answer> {
  const collected = collector();
  let isDone = false;
  for await (const { data } of parseSSEStream(stream)) {
    if (data === '[DONE]') isDone = true;
    if (data === undefined || data === '[DONE]') continue;
    const chunk = JSON.parse(data) as unknown;
    if (isObject(chunk) && isObject(chunk['error']))
      throw new OperationalError(`The model broke off: ${String(chunk['error']['message'])}`);
    const text = collected.add(chunk);
    if (text !== '') yield text;
  }
  // What came may be half of a tool call.
  if (!isDone && !collected.hasFinished())
    throw new OperationalError('The model broke off: its answer ended before it was whole, and no tool of it was run. Run it again.');
  return collected.answer();
}

/** LangChain calls it `signal`. */
function signalOf(config: ChatModelConfig | undefined): AbortSignal | undefined {
  return config?.abortSignal ?? (config as { signal?: AbortSignal } | undefined)?.signal;
}

/** The agent's own signal or the execution's stop button, whichever comes first. */
function eitherOf(first: AbortSignal | undefined, second: AbortSignal | undefined): AbortSignal | undefined {
  if (first === undefined || second === undefined) return first ?? second;
  return AbortSignal.any([first, second]);
}

function toolChoiceOf(config: ChatModelConfig | undefined): object {
  const choice = (config as { tool_choice?: unknown } | undefined)?.tool_choice;
  if (choice === undefined) return {};
  return { tool_choice: choice === 'any' ? 'required' : choice };
}

function waitOf(reply: GatewayReply, attempt: number): number {
  const asked = Number(reply.headers['retry-after']) * 1000;
  return asked > 0 ? asked : Math.min(RETRY_MS_MAX, RETRY_MS_FIRST * 2 ** (attempt - 1));
}

async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  const cancelled = new Promise((resolve) => signal?.addEventListener('abort', resolve, { once: true }));
  await Promise.race([sleep(ms), cancelled]);
  signal?.throwIfAborted();
}
