import { orThrow, REFUSALS, RefusedError, refusalOf, RunpurseError, type CallPlace } from '@runpurse/core';
import type { LanguageModelMiddleware } from 'ai';
import { guarded, insideTool, placeNow, type Live, type Place } from './live.ts';
import {
  answerOf,
  answerWith,
  boundsOf,
  failureOf,
  isUnsent,
  requestIdOf,
  watched,
  type Answer,
  type Failure,
} from '@runpurse/core/language-model';
import { asksOnce, fingerprintOf, type CallOptions, type Model, type StreamPart } from './translate.ts';

/** One try of a model call, from the question to the report. */
interface Call {
  readonly live: Live;
  readonly place: CallPlace & { readonly stepId: string; readonly attempt: number };
  readonly modelId: string;
  readonly isCarried: boolean;
  readonly isStream: boolean;
  readonly isInTool: boolean;
  /** As the SDK made it, and as it is sent: with the run's headers when it goes to the gateway. */
  readonly asked: CallOptions;
  readonly sent: CallOptions;
}

/** The blocking and metering point of every model call, plain and streamed: a refusal is thrown before anything is sent. */
export function middlewareOf(live: Live, place: Place, isCarried: boolean): LanguageModelMiddleware {
  return {
    specificationVersion: 'v4',
    async wrapGenerate({ params, model }) {
      const call = callOf(live, place, { asked: params, modelId: model.modelId, isCarried, isStream: false });
      try {
        await ask(call);
        const result = await model.doGenerate(call.sent);
        succeed(
          call,
          guarded(live, () => answerOf(result), {}),
        );
        return result;
      } catch (error) {
        throw fail(call, error, model);
      }
    },
    async wrapStream({ params, model }) {
      const call = callOf(live, place, { asked: params, modelId: model.modelId, isCarried, isStream: true });
      try {
        await ask(call);
        const result = await model.doStream(call.sent);
        return { ...result, stream: metered(call, result.stream, requestIdOf(result.response?.headers)) };
      } catch (error) {
        throw fail(call, error, model);
      }
    },
  };
}

function callOf(live: Live, at: Place, call: Pick<Call, 'asked' | 'modelId' | 'isCarried' | 'isStream'>): Call {
  const { asked, isCarried } = call;
  const isInTool = insideTool.getStore()?.live === live;
  const around = placeNow(live, at);
  const key = live.retries.size === 0 ? '' : keyOf(live, around, call);
  const place = { ...around, stepId: crypto.randomUUID(), attempt: 1, ...live.retries.get(key) };
  live.retries.delete(key);
  live.signal = asked.abortSignal;
  if (!isInTool) live.isInLoop = false;
  const headers = isCarried ? live.run.headers({ ...place, stepKind: 'llm_call' }) : {};
  return { ...call, live, place, isInTool, sent: { ...asked, headers: { ...asked.headers, ...headers } } };
}

async function ask(call: Call): Promise<void> {
  const { live, place, modelId: model, isCarried: carried } = call;
  const bounds = carried ? {} : guarded(live, () => boundsOf(call.asked), {});
  live.asking += 1;
  const decision = await live.run.authorizeModel({ ...place, ...bounds, model, carried });
  live.asking -= 1;
  orThrow(decision);
  live.open.set(call, () => report(call, { status: 'aborted', error: new Error('its run ended first') }));
  const { abortSignal } = call.asked;
  if (abortSignal?.aborted !== true) return;
  report(call, { ...failureOf(abortSignal.reason, abortSignal), usage: { input_tokens: 0, output_tokens: 0 } }); // never sent
  abortSignal.throwIfAborted();
}

/** A stream that is reported when it ends, with what its parts said. */
function metered(call: Call, stream: ReadableStream<StreamPart>, requestId: string | undefined): ReadableStream<StreamPart> {
  const { live } = call;
  let answer: Answer = { requestId };
  let isFinished = false;
  return watched(
    stream,
    (failure) => {
      const error = answer.error ?? (isFinished ? undefined : failure?.error);
      if (error === undefined) succeed(call, answer);
      else breakOff(call, error, answer);
    },
    (part) => {
      answer = guarded(live, () => answerWith(answer, part), answer);
      if (part.type !== 'finish') return;
      isFinished = true;
      if (!call.isInTool) live.isInLoop = part.finishReason.unified === 'tool-calls';
      if (answer.error === undefined) succeed(call, answer);
    },
  );
}

function succeed(call: Call, answer: Answer): void {
  report(call, answer);
  note(call, undefined);
}

/** What a call that got no stream or answer means for the run; returns what is thrown for it. */
function fail(call: Call, error: unknown, model: Model): unknown {
  const { live, place } = call;
  const refusal = refusalOf(error);
  if (refusal === undefined && !RunpurseError.isInstance(error)) {
    const wasUnsent = isUnsent(error) && guarded(live, () => asksOnce(model), false);
    breakOff(call, error, wasUnsent ? { usage: { input_tokens: 0, output_tokens: 0 } } : {});
    return error;
  }
  // Refused or not asked for: there was no call to report.
  note(call, { error });
  live.open.delete(call);
  if (refusal === undefined || RunpurseError.isInstance(error)) return error;
  if (!REFUSALS[refusal.code].retry) return Object.assign(new RefusedError(refusal), { cause: error }); // the SDK would try a 409 or 503 again
  live.retries.set(keyOf(live, place, call), { stepId: place.stepId, attempt: place.attempt });
  return error;
}

/** A call that was made and failed; the same one made again is its retry. */
function breakOff(call: Call, error: unknown, { model, usage, requestId }: Answer): void {
  const { live, place } = call;
  const answer = failureOf(error, call.asked.abortSignal);
  if (answer.status === 'failed') live.retries.set(keyOf(live, place, call), { stepId: place.stepId, attempt: place.attempt + 1 });
  report(call, { ...answer, model, usage: usage ?? answer.usage, requestId: requestId ?? answer.requestId });
  note(call, { error });
}

/** Reports how the call ended; the first end counts. */
function report(call: Call, answer: Answer): void {
  const { live, place, isCarried } = call;
  if (!live.open.delete(call)) return;
  if (!isCarried && answer.requestId !== undefined) warnOfHidden();
  guarded(live, () => live.run.recordModel({ ...place, ...answer, model: answer.model ?? call.modelId, carried: isCarried }), undefined);
}

/** A stream's failure is the run's, until a later call of the run succeeds. Inside a tool it is the tool's. */
function note({ live, isStream, isInTool }: Call, failure: Failure | undefined): void {
  if (!isInTool && (isStream || failure === undefined)) live.streamFailure = failure;
}

function keyOf(live: Live, { agentId, parentStepId }: Place, { modelId, asked }: Pick<Call, 'modelId' | 'asked'>): string {
  return guarded(live, () => fingerprintOf([modelId, agentId, parentStepId], asked), crypto.randomUUID());
}

let hasWarned = false;
function warnOfHidden(): void {
  if (hasWarned) return;
  hasWarned = true;
  process.emitWarning(
    'A model points at the gateway but hides it, so its calls count twice: here, and as runs of their own. Say run.model(model, { carried: true }).',
    'RunpurseWarning',
  );
}
