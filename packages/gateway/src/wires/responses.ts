import { boundTools, usedTools } from './built-in-tools.ts';
import { FieldReader, otherModels } from './fields.ts';
import { generatedBytes } from './generated.ts';
import { countInput } from './input-tokens.ts';
import { asArray, asObject, asText, parseObject } from './json.ts';
import { addAudio, addFile, addImage, noMedia, type MediaBound } from './media.ts';
import { reasonsUnseen, requestedRate, servedRate, TEMPLATE_TOKENS, TOOLS_TEMPLATE_TOKENS, unboundedField } from './openai-call.ts';
import { believable, openaiUsage } from './openai-usage.ts';
import { providerError } from './provider-error.ts';
import { openaiRefusal } from './refusal-body.ts';
import { createStreamMeter, type EventReader } from './stream-meter.ts';
import { spliceTopLevel, stringEnd } from './top-level-json.ts';
import type { BodyChange, JsonObject, ModelCall, ReplyFacts, Wire } from './wire.ts';

/** OpenAI's Responses API. */
export const responses: Wire = {
  name: 'responses',
  path: '/v1/responses',
  providerKind: 'openai',
  readCall,
  changeBody,
  readReply,
  // Usage comes unasked on this wire, so there is nothing to hide.
  meterStream: () => createStreamMeter(createResponsesReader(), false),
  countInputTokens: (body, model) => countInput(body, model, mediaOf(body, model).tokens + templateTokens(body)),
  refusalBody: openaiRefusal,
};

function readCall(body: JsonObject, bodyBytes: number): ReturnType<Wire['readCall']> {
  const fields = new FieldReader(body);
  const model = fields.text('model');
  const { input } = body;
  const isGiven = (name: string): boolean => body[name] !== undefined && body[name] !== null;
  if (isGiven('input') && typeof input !== 'string' && !Array.isArray(input)) {
    fields.refuse('input', "Invalid type for 'input': expected a string or an array.");
  } else if (!isGiven('input') && !STORED_INPUT.some(isGiven)) {
    fields.refuse('input', "Missing required parameter: 'input'.");
  }
  const stream = fields.flag('stream');
  const limit = fields.count('max_output_tokens');
  fields.count('max_tool_calls', 0);
  fields.list('tools');
  const isBackground = fields.flag('background');
  const reasoning = fields.object('reasoning');
  if (fields.invalid !== undefined) return { type: 'invalid', refusal: fields.invalid };

  const media = mediaOf(body, model);
  const tools = boundTools(body);
  const turns = tools.turns * (isGiven('context_management') ? 2 : 1);
  const call: ModelCall = {
    model,
    stream,
    inputTokensMax: bodyBytes - media.payload + media.tokens + templateTokens(body),
    // For all turns together.
    outputTokensLimit: limit,
    outputTokensLeast: LIMIT_LEAST,
    choices: 1,
    webSearchesMax: tools.webSearches,
    wantsStreamUsage: true,
    audioOutput: asArray(body['modalities']).includes('audio'),
    cacheWrite: '5m',
    ...(media.unbounded || STORED_INPUT.some(isGiven) ? { inputUnbounded: true as const } : {}),
    ...(media.audioTokens > 0 ? { audioInputTokensMax: media.audioTokens } : {}),
    ...(turns > 1 ? { turnsMax: turns } : {}),
    ...(reasonsUnseen(model, reasoning?.['effort']) || isBackground ? { hiddenReasoning: true as const } : {}),
    ratePercentMax: requestedRate(model, body['service_tier']),
    ...(tools.fees > 0n ? { feesMax: tools.fees } : {}),
    otherModels: otherModels(body['models'], body['fallbacks']),
    unbounded: unboundedField(body) ?? storedTools(body) ?? tools.unbounded,
  };
  return { type: 'call', call };
}

/** The provider refuses a lower `max_output_tokens`. */
const LIMIT_LEAST = 16;

/** Fields that bring in input the provider keeps. */
const STORED_INPUT = ['previous_response_id', 'conversation', 'prompt'];

/** A stored prompt brings tools of its own, which the body does not show. */
function storedTools(body: JsonObject): ModelCall['unbounded'] {
  if (asObject(body['prompt']) === undefined || body['tools'] !== undefined) return undefined;
  if (typeof body['max_tool_calls'] === 'number') return undefined;
  return {
    param: 'prompt',
    reason: 'a stored prompt may bring tools the gateway cannot see; state `tools` in the request (an empty list for none)',
  };
}

function templateTokens(body: JsonObject): number {
  return asArray(body['tools']).length > 0 ? TEMPLATE_TOKENS + TOOLS_TEMPLATE_TOKENS : TEMPLATE_TOKENS;
}

function mediaOf(body: JsonObject, model: string): MediaBound {
  const media = noMedia();
  for (const value of asArray(body['input'])) {
    const item = asObject(value);
    if (item?.['type'] === 'item_reference') media.unbounded = true;
    addParts(media, item?.['content'], model);
    addParts(media, item?.['output'], model);
    // A screenshot, or an image made earlier.
    const output = asObject(item?.['output']);
    if (output !== undefined) addParts(media, [output], model);
    if (item?.['type'] === 'image_generation_call') addImage(media, item['result'], model, undefined);
  }
  return media;
}

const TEXT_PARTS: ReadonlySet<unknown> = new Set([
  'input_text',
  'output_text',
  'text',
  'refusal',
  'reasoning_text',
  'summary_text',
  'logs',
  'function_call_output',
  'stdout',
  'shell_call_output',
  undefined,
]);

function addParts(media: MediaBound, content: unknown, model: string): void {
  for (const value of asArray(content)) {
    const part = asObject(value);
    if (part === undefined || TEXT_PARTS.has(part['type'])) continue;
    if (part['type'] === 'input_image' || part['type'] === 'computer_screenshot') {
      addImage(media, part['image_url'], model, part['detail']);
    } else if (part['type'] === 'input_audio') {
      const audio = asObject(part['input_audio']);
      addAudio(media, audio?.['data'] ?? part['data'], audio?.['format'] ?? part['format']);
    } else {
      addFile(media, part['file_data']);
    }
  }
}

function changeBody(text: string, _body: JsonObject, change: BodyChange): string {
  const values = new Map<string, string>();
  if (change.model !== undefined) values.set('model', JSON.stringify(change.model));
  if (change.outputTokensLimit !== undefined) values.set('max_output_tokens', String(change.outputTokensLimit));
  return spliceTopLevel(text, values);
}

function readReply(body: JsonObject): ReplyFacts {
  const reader = createResponsesReader();
  reader.readWhole(body);
  return reader.facts();
}

interface ResponsesReader extends EventReader {
  readWhole(body: JsonObject): void;
}

/** Events that say something beside text; all others repeat what deltas said, or note progress. */
const TELLING: ReadonlySet<string> = new Set([
  'response.created',
  'response.in_progress',
  'response.queued',
  'response.output_item.done',
  'response.completed',
  'response.incomplete',
  'response.failed',
  'response.cancelled',
  'error',
]);
const UNDER_WAY: ReadonlySet<unknown> = new Set(['queued', 'in_progress']);
const EVENT_LINE = 'event: ';
const DELTA_KEY = '"delta":"';

function createResponsesReader(): ResponsesReader {
  let response: JsonObject | undefined;
  let deltaBytes = 0;
  let itemBytes = 0;
  let complete = false;
  let pending = false;
  let error: string | undefined;

  /** Deltas and finished items tell the same; a provider may send only one of them. */
  const outputBytes = (): number => Math.max(deltaBytes, itemBytes);

  const conclude = (type: string, body: JsonObject): void => {
    response = body;
    complete = true;
    itemBytes = Math.max(
      itemBytes,
      asArray(body['output']).reduce<number>((sum, item) => sum + writtenBytes(item), 0),
    );
    if (type === 'response.failed') error ??= providerError(body['error'] ?? 'the response failed');
  };

  return {
    skim(event) {
      if (!event.startsWith(EVENT_LINE)) return false;
      const name = event.slice(EVENT_LINE.length, lineEnd(event, EVENT_LINE.length));
      if (TELLING.has(name)) return false;
      if (!name.endsWith('.delta')) return true;
      const at = event.indexOf(DELTA_KEY);
      if (at === -1 || name.includes('audio.')) return false;
      const open = at + DELTA_KEY.length - 1;
      // As it stands in the JSON, escapes and all: never fewer bytes than the text has.
      deltaBytes += stringEnd(event, open) - open - 2;
      return true;
    },
    read(name, data) {
      const event = parseObject(data);
      if (event === undefined) {
        if (data.trim() !== '[DONE]') deltaBytes += Buffer.byteLength(data);
        return false;
      }
      const type = asText(event['type']) ?? name ?? '';
      const body = asObject(event['response']);
      if (type === 'response.output_item.done') itemBytes += writtenBytes(event['item']);
      else if (type.endsWith('.delta'))
        deltaBytes += generatedBytes(event['delta'], type.includes('audio.') && !type.includes('transcript') ? 'data' : 'delta');
      else if (type === 'error') error ??= providerError(event['error'] ?? event);
      else if (body !== undefined && /^response\.(completed|incomplete|failed|cancelled)$/.test(type)) conclude(type, body);
      else if (body !== undefined) response ??= body;
      return false;
    },
    skipped(bytes) {
      deltaBytes += bytes;
    },
    readWhole(body) {
      pending = UNDER_WAY.has(body['status']);
      if (body['status'] === 'failed') conclude('response.failed', body);
      else {
        conclude('response.completed', body);
        error = providerError(body['error']);
      }
    },
    facts() {
      const model = asText(response?.['model']);
      const used = response === undefined ? { webSearches: 0, fees: 0n } : usedTools(response);
      const reported = openaiUsage(response?.['usage']);
      const usage = believable(
        reported === undefined ? undefined : { ...reported, webSearches: Math.max(reported.webSearches, used.webSearches) },
        outputBytes(),
      );
      const ratePercent = complete ? servedRate(model, response?.['service_tier']) : undefined;
      return {
        model,
        usage,
        outputBytes: outputBytes(),
        complete: complete && !pending,
        error,
        ...(usage !== undefined && complete && !pending ? { usageFinal: true as const } : {}),
        ...(pending || (response?.['background'] === true && !complete) ? { pending: true as const } : {}),
        ...(ratePercent === undefined ? {} : { ratePercent }),
        ...(used.fees > 0n ? { fees: used.fees } : {}),
      };
    },
  };
}

/** Results of searches and files are input; what the model wrote is output. */
function writtenBytes(value: unknown): number {
  const item = asObject(value);
  if (item === undefined) return 0;
  const { results: _results, result: _result, outputs: _outputs, output: _output, ...written } = item;
  return generatedBytes(written);
}

const LINE_END = /[\r\n]|$/g;

function lineEnd(text: string, from: number): number {
  LINE_END.lastIndex = from;
  return LINE_END.exec(text)?.index ?? text.length;
}
