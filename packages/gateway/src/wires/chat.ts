import { bareModel } from '../pricing/model-limits.ts';
import { addAudio, addFile, addImage, noMedia, type MediaBound } from './media.ts';
import { asArray, asObject, asText, parseObject } from './json.ts';
import { FieldReader, otherModels } from './fields.ts';
import { generatedBytes } from './generated.ts';
import { reasonsUnseen, requestedRate, servedRate, TEMPLATE_TOKENS, TOOLS_TEMPLATE_TOKENS, unboundedField } from './openai-call.ts';
import { believable, openaiUsage } from './openai-usage.ts';
import { openaiRefusal } from './refusal-body.ts';
import { countInput } from './input-tokens.ts';
import { createStreamMeter, type EventReader } from './stream-meter.ts';
import { spliceTopLevel, stringEnd } from './top-level-json.ts';
import { providerError } from './provider-error.ts';
import type { BodyChange, JsonObject, ModelCall, ReplyFacts, Wire } from './wire.ts';

/** OpenAI's chat completions, which most providers and local servers speak too. */
export const chat: Wire = {
  name: 'chat',
  path: '/v1/chat/completions',
  providerKind: 'openai',
  readCall,
  changeBody,
  readReply,
  meterStream: ({ hideUsage }) => createStreamMeter(createChatReader(), hideUsage),
  countInputTokens: (body, model) => countInput(body, model, mediaOf(asArray(body['messages']), model).tokens + templateTokens(body)),
  refusalBody: openaiRefusal,
};

function readCall(body: JsonObject, bodyBytes: number): ReturnType<Wire['readCall']> {
  const fields = new FieldReader(body);
  const model = fields.text('model');
  const messages = fields.list('messages');
  if (body['messages'] === undefined || body['messages'] === null) fields.refuse('messages', "Missing required parameter: 'messages'.");
  else if (messages.length === 0)
    fields.refuse('messages', "Invalid 'messages': empty array. Expected an array with at least one message.");
  const notObject = messages.findIndex((message) => asObject(message) === undefined);
  if (notObject !== -1) fields.refuse(`messages[${notObject}]`, `Invalid type for 'messages[${notObject}]': expected an object.`);
  const stream = fields.flag('stream');
  const streamOptions = fields.object('stream_options');
  const limits = [fields.count('max_completion_tokens'), fields.count('max_tokens')].filter((limit) => limit !== undefined);
  const choices = Math.max(fields.count('n') ?? 1, fields.count('best_of') ?? 1);
  fields.list('tools');
  if (fields.invalid !== undefined) return { type: 'invalid', refusal: fields.invalid };

  const media = mediaOf(messages, model);
  const searches = body['web_search_options'] !== undefined && body['web_search_options'] !== null ? 1 : searchesAlways(model) ? 1 : 0;
  const call: ModelCall = {
    model,
    stream,
    inputTokensMax: bodyBytes - media.payload + media.tokens + templateTokens(body),
    // Both given: servers differ in which they heed.
    outputTokensLimit: limits.length === 0 ? undefined : Math.max(...limits),
    choices,
    webSearchesMax: searches * choices,
    wantsStreamUsage: streamOptions?.['include_usage'] === true,
    audioOutput: asArray(body['modalities']).includes('audio') || (body['audio'] !== undefined && body['audio'] !== null),
    // Providers of this wire write their caches by themselves; those that bill it do so at one rate.
    cacheWrite: '5m',
    ...(media.unbounded ? { inputUnbounded: true as const } : {}),
    ...(media.audioTokens > 0 ? { audioInputTokensMax: media.audioTokens } : {}),
    ...(searches > 0 ? { webSearchesUnreported: true as const } : {}),
    ...(body['prediction'] ? { outputTokensExtra: generatedBytes(body['prediction']) } : {}),
    ...(reasonsUnseen(model, body['reasoning_effort'] ?? asObject(body['reasoning'])?.['effort'])
      ? { hiddenReasoning: true as const }
      : {}),
    ratePercentMax: requestedRate(model, body['service_tier']),
    otherModels: otherModels(body['models'], body['fallbacks']),
    unbounded: unboundedField(body) ?? providerTools(body),
  };
  return { type: 'call', call };
}

/** Models that look things up on the web before every answer. */
function searchesAlways(model: string): boolean {
  return /search-(preview|api)/.test(bareModel(model));
}

function templateTokens(body: JsonObject): number {
  return asArray(body['tools']).length > 0 || asArray(body['functions']).length > 0
    ? TEMPLATE_TOKENS + TOOLS_TEMPLATE_TOKENS
    : TEMPLATE_TOKENS;
}

/** A tool the provider would run itself has no price on this wire. */
function providerTools(body: JsonObject): ModelCall['unbounded'] {
  const foreign = asArray(body['tools']).find((tool) => {
    const type = asText(asObject(tool)?.['type']);
    return type !== undefined && type !== 'function' && type !== 'custom';
  });
  if (foreign === undefined) return undefined;
  return {
    param: 'tools',
    reason: `the provider runs the tool \`${asText(asObject(foreign)?.['type']) ?? ''}\` itself, and what it costs is not bounded`,
  };
}

function mediaOf(messages: readonly unknown[], model: string): MediaBound {
  const media = noMedia();
  for (const message of messages) {
    const fields = asObject(message);
    const content = fields?.['content'];
    if (Array.isArray(content)) for (const part of content) addPart(media, part, model);
    // An earlier spoken answer is named by its id and read again.
    if (fields?.['audio'] !== undefined && fields['audio'] !== null) {
      media.unbounded = true;
      media.audioTokens = Number.MAX_SAFE_INTEGER;
    }
  }
  return media;
}

const TEXT_PARTS: ReadonlySet<unknown> = new Set([
  'text',
  'refusal',
  'thinking',
  'reasoning',
  'tool_result',
  'tool_use',
  'tool_call',
  undefined,
]);

function addPart(media: MediaBound, value: unknown, model: string): void {
  const part = asObject(value);
  if (part === undefined || TEXT_PARTS.has(part['type'])) return;
  if (part['type'] === 'image_url') {
    const image = asObject(part['image_url']);
    addImage(media, image?.['url'] ?? part['image_url'], model, image?.['detail']);
  } else if (part['type'] === 'input_audio') {
    const audio = asObject(part['input_audio']);
    addAudio(media, audio?.['data'], audio?.['format']);
  } else {
    addFile(media, asObject(part['file'])?.['file_data']);
  }
}

/** OpenAI's own models refuse or deprecate `max_tokens`; compatible servers all know it, and not all know the newer name. */
const TAKES_MAX_COMPLETION_TOKENS = /^(gpt-(?!oss)|o[1-9](-|$)|chatgpt-|codex-)/;

function changeBody(text: string, body: JsonObject, change: BodyChange): string {
  const values = new Map<string, string>();
  if (change.model !== undefined) values.set('model', JSON.stringify(change.model));
  if (change.outputTokensLimit !== undefined) {
    const given = ['max_completion_tokens', 'max_tokens'].filter((name) => body[name] !== undefined && body[name] !== null);
    const own = TAKES_MAX_COMPLETION_TOKENS.test(bareModel(change.model ?? asText(body['model']) ?? ''));
    const names = given.length > 0 ? given : [own ? 'max_completion_tokens' : 'max_tokens'];
    for (const name of names) values.set(name, String(change.outputTokensLimit));
  }
  if (change.streamUsage === true) {
    const options = asObject(body['stream_options']);
    values.set('stream_options', JSON.stringify({ ...options, include_usage: true }));
  }
  return spliceTopLevel(text, values);
}

function readReply(body: JsonObject): ReplyFacts {
  const reader = createChatReader();
  reader.readWhole(body);
  return { ...reader.facts(), complete: true };
}

interface ChatReader extends EventReader {
  readWhole(body: JsonObject): void;
}

const PLAIN_DELTA = '"delta":{"content":"';
/** OpenAI pads its events at random, last thing in each. */
const PADDING = '"obfuscation":"';
const PADDED_END = '}\n\n';

function createChatReader(): ChatReader {
  let model: string | undefined;
  let usage: unknown;
  let usageFinal = false;
  let outputBytes = 0;
  let done = false;
  let finished = false;
  let error: string | undefined;
  let serviceTier: unknown;
  let seenFirst = false;
  /** The bytes before and after a plain delta's text that were seen to tell nothing else. */
  let head = '';
  let tail = '';
  let isPadded = false;

  const endsAsBefore = (event: string, close: number): boolean => {
    if (tail === '' || !event.startsWith(tail, close)) return false;
    const end = close + tail.length;
    return isPadded ? stringEnd(event, end - 1) + PADDED_END.length === event.length && event.endsWith(PADDED_END) : end === event.length;
  };

  const readObject = (object: JsonObject, part: 'delta' | 'message'): boolean => {
    model ??= asText(object['model']);
    if (object['service_tier'] !== undefined && object['service_tier'] !== null) serviceTier = object['service_tier'];
    error ??= providerError(object['error']);
    const choices = asArray(object['choices']);
    for (const choice of choices) {
      const fields = asObject(choice);
      outputBytes += generatedBytes(fields?.[part] ?? fields?.['text']);
      finished ||= typeof fields?.['finish_reason'] === 'string';
    }
    const reported = asObject(object['usage']) ?? asObject(asObject(object['x_groq'])?.['usage']);
    if (reported === undefined) return false;
    usage = reported;
    usageFinal ||= choices.length === 0 || finished;
    return Array.isArray(object['choices']) && choices.length === 0 && object['error'] === undefined;
  };

  return {
    skim(event) {
      if (!seenFirst) return false;
      // A stream's events are alike up to their text and after it, so what was looked through once is only compared.
      let open = head.length - 1;
      if (head === '' || !event.startsWith(head)) {
        open = event.indexOf(PLAIN_DELTA) + PLAIN_DELTA.length - 1;
        const start = event.slice(0, open + 1);
        if (!start.endsWith(PLAIN_DELTA) || !start.startsWith('data:') || start.includes('\n') || tells(start)) return false;
        head = start;
      }
      const close = stringEnd(event, open);
      if (!endsAsBefore(event, close)) {
        const rest = event.slice(close);
        if (!rest.startsWith('}') || rest.includes('"delta"') || rest.includes('\ndata') || tells(rest)) return false;
        const padding = rest.indexOf(PADDING);
        isPadded = padding !== -1 && rest.endsWith(PADDED_END);
        tail = isPadded ? rest.slice(0, padding + PADDING.length) : rest;
      }
      // As it stands in the JSON, escapes and all: never fewer bytes than the text has.
      outputBytes += close - open - 2;
      return true;
    },
    read(_name, data) {
      if (data.trim() === '[DONE]') {
        done = true;
        return false;
      }
      const object = parseObject(data);
      if (object === undefined) {
        outputBytes += Buffer.byteLength(data);
        return false;
      }
      const hide = readObject(object, 'delta');
      seenFirst ||= model !== undefined;
      return hide;
    },
    skipped(bytes) {
      outputBytes += bytes;
    },
    readWhole(body) {
      readObject(body, 'message');
      usageFinal = true;
    },
    facts() {
      const known = believable(openaiUsage(usage), outputBytes);
      const ratePercent = servedRate(model, serviceTier);
      return {
        model,
        usage: known,
        outputBytes,
        complete: done || (finished && usage !== undefined),
        error,
        ...(known !== undefined && usageFinal ? { usageFinal: true as const } : {}),
        ...(ratePercent === undefined ? {} : { ratePercent }),
      };
    },
  };
}

/** True when these bytes of an event say more than that text was generated: a usage, an error, the end of a choice. */
function tells(part: string): boolean {
  return !isNull(part, '"finish_reason"') || !isNull(part, '"usage"') || part.includes('"error"');
}

/** True when a key does not stand in the event, or stands there with null. */
function isNull(event: string, key: string): boolean {
  let at = event.indexOf(key);
  if (at === -1) return true;
  at += key.length;
  while (event[at] === ':' || event[at] === ' ') at += 1;
  return event.startsWith('null', at);
}
