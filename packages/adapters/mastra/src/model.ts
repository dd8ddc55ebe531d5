import type { MastraLanguageModel } from '@mastra/core/agent';
import { REFUSALS, RefusedError, refusalOf, type CallPlace, type RunpurseError } from '@runpurse/core';
import { guarded, obstacleOf, type Host, type Live, type Place } from './live.ts';
import {
  answerOf,
  answerWith,
  boundsOf,
  failureOf,
  requestIdOf,
  watched,
  type Answer,
  type ModelStreamPart,
} from '@runpurse/core/language-model';
import { askStranger, noteStrangers, type Strangers } from './tools.ts';
import type { Answered, CallOptions, PromptMessage } from './translate.ts';

/** A model step of an agent, from the processor that announces it to its last try. */
export interface ModelStep {
  readonly live: Live;
  readonly place: Place;
  readonly stepId: string;
  readonly modelId: string;
  readonly isCarried: boolean;
  readonly strangers: Strangers;
  /** Marks of guarded tools made before it: those its tools bear are newer, unless they were copied. */
  readonly marksBefore: number;
  /** Of an execution that ends the run. */
  readonly isOwners: boolean;
  /** Tries so far: Mastra's own retries, and those of error processors and fallback models. */
  tries: number;
  hasFailed: boolean;
  /** Why no call was made, until the processor has tripped over it. */
  obstacle?: RunpurseError | undefined;
}

/** One try of a model step. */
interface Call {
  readonly step: ModelStep;
  readonly place: CallPlace & { readonly stepId: string };
  readonly signal: AbortSignal | undefined;
  /** Until its answer shows that the gateway did not. */
  isCarried: boolean;
}

/** The step a prompt belongs to, by each of its messages and their parts: Mastra may still put a message to them. */
const steps = new WeakMap<object, ModelStep>();

/** The prompt of a step, copied so that no other call has it: the model is told nothing else about whose call it makes. */
export function announced<Prompt extends readonly PromptMessage[]>(prompt: Prompt, step: ModelStep): Prompt {
  const known = <Part extends object>(part: Part): Part => {
    const own = { ...part };
    steps.set(own, step);
    return own;
  };
  return prompt.map((message) =>
    known({ ...message, content: Array.isArray(message.content) ? message.content.map((part: object) => known(part)) : message.content }),
  ) as unknown as Prompt;
}

function stepOf({ prompt }: CallOptions): ModelStep | undefined {
  const parts = prompt.flatMap((message) => [message, ...(Array.isArray(message.content) ? (message.content as object[]) : [])]);
  return parts.map((part) => steps.get(part)).find((step) => step !== undefined);
}

/** Calls under way of executions that end their run. */
const ownersCalls = new WeakSet<object>();

/** Whether another execution under the run's id waits for a model: then it ends the run, and not who was there before it. */
export function isAnswering(live: Live): boolean {
  return [...live.open.keys()].some((call) => ownersCalls.has(call));
}

type Ask = (options: CallOptions) => PromiseLike<Answered>;
interface Asked {
  doGenerate: Ask;
  doStream: Ask;
}
const meteredModels = new WeakSet<object>();

/**
 * Makes a model ask before, and report after, each call of a step that was announced; any other call passes as it is. It
 * is the blocking and metering point: the last thing before the wire, whoever chose the model (fallbacks, `prepareStep`).
 */
export function meter(model: MastraLanguageModel): void {
  const asked = model as unknown as Asked;
  if (meteredModels.has(model)) return;
  for (const method of ['doGenerate', 'doStream'] as const) {
    const ask: Ask = asked[method].bind(model);
    asked[method] = (options) => {
      const step = stepOf(options);
      return step === undefined ? ask(options) : make(step, options, ask);
    };
  }
  meteredModels.add(model);
}

async function make(step: ModelStep, options: CallOptions, ask: Ask): Promise<Answered> {
  const { live, isCarried } = step;
  step.tries += 1;
  step.hasFailed = false;
  guarded(live.host, () => noteStrangers(step, options.tools), undefined);
  const place = { ...step.place, stepId: step.stepId, attempt: step.tries };
  const call: Call = { step, place, signal: options.abortSignal, isCarried };
  const bounds = isCarried ? {} : guarded(live.host, () => boundsOf(options), {});
  const decision = await live.run.authorizeModel({ ...place, ...bounds, model: step.modelId, carried: isCarried });
  const obstacle = obstacleOf(decision);
  if (obstacle !== undefined) return obstructed(call, obstacle);
  if (step.isOwners) ownersCalls.add(call);
  live.open.set(call, () => report(call, { status: 'aborted', error: new Error('its run ended first') }));
  if (call.signal?.aborted === true) {
    report(call, { ...failureOf(call.signal.reason, call.signal), usage: { input_tokens: 0, output_tokens: 0 } }); // never sent
    call.signal.throwIfAborted();
  }
  const headers = isCarried ? { ...options.headers, ...live.run.headers({ ...place, stepKind: 'llm_call' }) } : options.headers;
  try {
    const answer = await ask({ ...options, headers });
    if (isCarried && isStrangers(answer)) {
      call.isCarried = false;
      warnOnce(live.host, PAST);
    }
    if (answer.usage === undefined) answer.stream = metered(call, answer);
    else
      report(
        call,
        guarded(live.host, () => answerOf(answer), {}),
      );
    if (step.strangers.guarded !== undefined) answer.stream = askingForStrangers(step, answer.stream);
    return answer;
  } catch (error) {
    const refusal = isCarried ? refusalOf(error) : undefined;
    if (refusal === undefined) {
      fail(call, error);
      throw error;
    }
    live.open.delete(call); // refused: there was no call to report
    if (!REFUSALS[refusal.code].retry) return obstructed(call, Object.assign(new RefusedError(refusal), { cause: error }));
    step.tries -= 1; // Mastra waits and tries again
    live.failure = { error };
    throw error;
  }
}

/**
 * The answer to a call that was not made: a stream without an answer, whose first part the output processor trips over, so
 * that a refusal is a tripwire wherever it was found out. With no such processor around it is the stream's error.
 */
function obstructed({ step }: Call, obstacle: RunpurseError): Answered {
  const stream = new ReadableStream<ModelStreamPart>({ pull: (controller) => tripOver(step, obstacle, controller) }, { highWaterMark: 0 });
  return { stream };
}

async function tripOver(step: ModelStep, obstacle: RunpurseError, controller: Trippable): Promise<void> {
  step.live.failure = { error: obstacle };
  step.obstacle = obstacle;
  controller.enqueue({ type: 'text-start', id: 'runpurse' } as ModelStreamPart);
  await new Promise((resolve) => setTimeout(resolve, TRIP_WITHIN_MS));
  controller.error(obstacle);
}
type Trippable = Pick<ReadableStreamDefaultController<ModelStreamPart>, 'enqueue' | 'error'>;

/** An answer that is read to its end, but after the call of an unguarded tool that must not run says nothing more. */
function askingForStrangers(step: ModelStep, answer: Answered['stream']): Answered['stream'] {
  let obstacle: RunpurseError | undefined;
  /** A stranger's arguments as they stream, by the id of its call: Mastra takes their end for the call. */
  const waiting = new Map<string, ModelStreamPart[]>();
  const asking = new TransformStream<ModelStreamPart, ModelStreamPart>({
    async transform(part, controller) {
      const {
        type,
        id = '',
        toolName = '',
        toolCallId = '',
      } = part as ModelStreamPart & Partial<Record<'id' | 'toolName' | 'toolCallId', string>>;
      if (type === 'tool-input-start' && step.strangers.guarded?.has(toolName) === false) waiting.set(id, []);
      const inputs = type.startsWith('tool-input-') ? waiting.get(id) : undefined;
      if (inputs !== undefined) return void inputs.push(part);
      if (type === 'tool-call') obstacle ??= (await askStranger(step, part).catch((error: unknown) => error as RunpurseError)) ?? undefined;
      if (obstacle !== undefined) return;
      for (const each of [...(waiting.get(toolCallId) ?? []), part]) controller.enqueue(each);
      waiting.delete(toolCallId);
    },
    async flush(controller) {
      if (obstacle !== undefined) await tripOver(step, obstacle, controller);
    },
  });
  return answer.pipeThrough(asking);
}

const TRIP_WITHIN_MS = 250;

/** A stream that is reported when it ends, with what its parts said. */
function metered(call: Call, { stream, response }: Answered): Answered['stream'] {
  const { host } = call.step.live;
  let answer: Answer = { requestId: requestIdOf(response?.headers) };
  let isFinished = false;
  return watched(
    stream,
    (failure) => {
      const error = answer.error ?? (isFinished ? undefined : failure?.error);
      if (error === undefined) report(call, answer);
      else fail(call, error, answer);
    },
    (part) => {
      answer = guarded(host, () => answerWith(answer, part), answer);
      if (part.type !== 'finish') return;
      isFinished = true;
      if (answer.error === undefined) report(call, answer);
    },
  );
}

/** A call that was made and failed; the same step made again is its retry. */
function fail(call: Call, error: unknown, { model, usage, requestId }: Answer = {}): void {
  const { step, signal } = call;
  const answer = failureOf(error, signal);
  step.hasFailed = true;
  step.live.failure = { error };
  report(call, { ...answer, model, usage: usage ?? answer.usage, requestId: requestId ?? answer.requestId });
}

/** Reports how the call ended; the first end counts. */
function report(call: Call, answer: Answer): void {
  const { step, place, isCarried } = call;
  const { live } = step;
  if (!live.open.delete(call)) return;
  if (!isCarried && answer.requestId !== undefined) warnOnce(live.host, HIDDEN);
  live.run.recordModel({ ...place, ...answer, model: answer.model ?? step.modelId, carried: isCarried });
}

/** The gateway's answers bear its request's id; one without headers says nothing. */
function isStrangers({ response }: Answered): boolean {
  const headers = response?.headers ?? {};
  return Object.keys(headers).length > 0 && requestIdOf(headers) === undefined;
}

const HIDDEN =
  'A model points at the gateway but hides it, so its calls count twice: here, and as runs of their own. Say withRunpurse(options, { carried: true }).';
const PAST =
  'A model of an agent attached with { carried: true } sends its calls past the gateway, so they are charged after they were made, and not asked for before. Leave out carried: true.';

const warned = new WeakMap<Host, Set<string>>();
function warnOnce(host: Host, text: string): void {
  const told = warned.get(host) ?? new Set();
  if (told.has(text)) return;
  warned.set(host, told.add(text));
  process.emitWarning(text, 'RunpurseWarning');
}
