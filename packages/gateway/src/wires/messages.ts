import { tierPercent } from '../pricing/service-tier.ts';
import type { Usage } from '../store/entry.ts';
import { FieldReader, otherModels } from './fields.ts';
import { generatedBytes } from './generated.ts';
import { countInput } from './input-tokens.ts';
import { asArray, asCount, asObject, asText, parseObject } from './json.ts';
import { addFile, addImage, noMedia, sourceOf, type MediaBound } from './media.ts';
import { serverTools, unboundedField } from './messages-unbounded.ts';
import { reasonsUnseen, TEMPLATE_TOKENS, TOOLS_TEMPLATE_TOKENS } from './openai-call.ts';
import { believable } from './openai-usage.ts';
import { providerError } from './provider-error.ts';
import { anthropicRefusal } from './refusal-body.ts';
import { createStreamMeter, type EventReader } from './stream-meter.ts';
import { spliceTopLevel, stringEnd } from './top-level-json.ts';
import type { BodyChange, JsonObject, ModelCall, ReplyFacts, Wire } from './wire.ts';

/** Anthropic's messages. */
export const messages: Wire = {
  name: 'messages',
  path: '/v1/messages',
  providerKind: 'anthropic',
  readCall,
  changeBody,
  readReply,
  // Usage comes unasked on this wire, so there is nothing to hide.
  meterStream: () => createStreamMeter(createMessagesReader(), false),
  countInputTokens: (body, model) => countInput(body, model, mediaOf(body, model).tokens + templateTokens(body)),
  refusalBody: anthropicRefusal,
};

function readCall(body: JsonObject, bodyBytes: number): ReturnType<Wire['readCall']> {
  const fields = new FieldReader(body);
  const model = fields.text('model');
  const list = fields.list('messages');
  if (body['messages'] === undefined || body['messages'] === null) fields.refuse('messages', 'messages: Field required');
  else if (list.length === 0) fields.refuse('messages', 'messages: at least one message is required');
  const notObject = list.findIndex((message) => asObject(message) === undefined);
  if (notObject !== -1) fields.refuse(`messages[${notObject}]`, `messages.${notObject}: expected an object`);
  // 0 warms the cache and generates nothing.
  const limit = fields.count('max_tokens', 0);
  if (limit === undefined) fields.refuse('max_tokens', 'max_tokens: Field required');
  const stream = fields.flag('stream');
  fields.list('tools');
  const thinking = fields.object('thinking');
  if (fields.invalid !== undefined) return { type: 'invalid', refusal: fields.invalid };

  const media = mediaOf(body, model);
  const tools = serverTools(body);
  const turns = tools.turns * (compacts(body) ? 2 : 1);
  const call: ModelCall = {
    model,
    stream,
    inputTokensMax: bodyBytes - media.payload + media.tokens + templateTokens(body),
    outputTokensLimit: limit,
    // The limit holds for each turn of the provider's own tools.
    choices: turns,
    webSearchesMax: tools.webSearches,
    wantsStreamUsage: true,
    audioOutput: false,
    cacheWrite: cacheWriteOf(body),
    ...(media.unbounded ? { inputUnbounded: true as const } : {}),
    ...(turns > 1 ? { turnsMax: turns } : {}),
    outputTokensLeast: (asCount(thinking?.['budget_tokens']) ?? 0) + 1,
    ...(hidesThinking(model, thinking) ? { hiddenReasoning: true as const } : {}),
    ratePercentMax: requestedRate(model, body),
    otherModels: otherModels(body['fallbacks']),
    unbounded: unboundedField(body) ?? tools.unbounded,
  };
  return { type: 'call', call };
}

/** With compaction the provider reads the input once more, to sum it up. */
function compacts(body: JsonObject): boolean {
  return asArray(asObject(body['context_management'])?.['edits']).some(
    (edit) => asText(asObject(edit)?.['type'])?.startsWith('compact') === true,
  );
}

/** Claude's thinking is billed in full and shown in summary. */
function hidesThinking(model: string, thinking: JsonObject | undefined): boolean {
  const type = thinking?.['type'];
  if (type === 'disabled') return false;
  return type !== undefined || reasonsUnseen(model, undefined);
}

/** Fast mode and inference bound to the US cost more, and their factors multiply. */
function requestedRate(model: string, body: JsonObject): number | undefined {
  const percent = rateOf(model, body['speed'], body['inference_geo']);
  return percent === 100 ? undefined : percent;
}

function rateOf(model: string, speed: unknown, geo: unknown): number {
  const speedPercent = speed === 'fast' ? tierPercent(model, 'fast') : 100;
  return Math.ceil((speedPercent * (geo === 'us' ? tierPercent(model, 'us') : 100)) / 100);
}

/** The dearest cache write the body's `cache_control` marks ask for; none, where there is no mark. */
function cacheWriteOf(body: JsonObject): ModelCall['cacheWrite'] {
  let dearest = ttlOf(body);
  const look = (value: unknown): void => {
    if (dearest === '1h') return;
    if (Array.isArray(value)) value.forEach(look);
    const object = asObject(value);
    if (object === undefined) return;
    dearest = ttlOf(object) ?? dearest;
    look(object['content']);
  };
  for (const name of ['system', 'messages', 'tools']) look(body[name]);
  return dearest;
}

function ttlOf(object: JsonObject): ModelCall['cacheWrite'] {
  const control = asObject(object['cache_control']);
  if (control === undefined) return undefined;
  return control['ttl'] === undefined || control['ttl'] === null || control['ttl'] === '5m' ? '5m' : '1h';
}

/** Each ready-made tool brings its own instructions: 245 tokens for bash, 700 for the editor, 735 + 499 for the computer. */
const READY_MADE_TOOL_TOKENS = 1500;

function templateTokens(body: JsonObject): number {
  const tools = asArray(body['tools']);
  if (tools.length === 0) return TEMPLATE_TOKENS;
  const readyMade = tools.filter((tool) => {
    const type = asText(asObject(tool)?.['type']);
    return type !== undefined && type !== 'custom';
  });
  return TEMPLATE_TOKENS + TOOLS_TEMPLATE_TOKENS + readyMade.length * READY_MADE_TOOL_TOKENS;
}

function mediaOf(body: JsonObject, model: string): MediaBound {
  const media = noMedia();
  for (const message of asArray(body['messages'])) addBlocks(media, asObject(message)?.['content'], model);
  addBlocks(media, body['system'], model);
  return media;
}

/** Blocks whose whole content stands in the body as text. */
const TEXT_BLOCKS: ReadonlySet<unknown> = new Set([
  'text',
  'thinking',
  'redacted_thinking',
  'tool_use',
  'server_tool_use',
  'search_result',
  'web_search_tool_result',
  'web_fetch_tool_result',
  'mcp_tool_use',
  'compaction',
  'tool_reference',
  undefined,
]);

function addBlocks(media: MediaBound, content: unknown, model: string): void {
  for (const value of asArray(content)) {
    const block = asObject(value);
    if (block === undefined || TEXT_BLOCKS.has(block['type'])) continue;
    if (block['type'] === 'tool_result' || block['type'] === 'mcp_tool_result') {
      addBlocks(media, block['content'], model);
    } else if (block['type'] === 'image') {
      addImage(media, sourceOf(block).data, model, undefined);
    } else if (block['type'] === 'document' && sourceOf(block).type === 'content') {
      addBlocks(media, asObject(block['source'])?.['content'], model);
    } else if (!(block['type'] === 'document' && sourceOf(block).type === 'text')) {
      addFile(media, sourceOf(block).data);
    }
  }
}

function changeBody(text: string, _body: JsonObject, change: BodyChange): string {
  const values = new Map<string, string>();
  if (change.model !== undefined) values.set('model', JSON.stringify(change.model));
  if (change.outputTokensLimit !== undefined) values.set('max_tokens', String(change.outputTokensLimit));
  return spliceTopLevel(text, values);
}

function readReply(body: JsonObject): ReplyFacts {
  const reader = createMessagesReader();
  reader.readWhole(body);
  return reader.facts();
}

interface MessagesReader extends EventReader {
  readWhole(body: JsonObject): void;
}

/** The deltas that make up nearly all of a stream, as their events begin, and the key their text stands under. */
const DELTAS: readonly { readonly mark: string; readonly counts: boolean }[] = [
  { mark: '"delta":{"type":"text_delta","text":"', counts: true },
  { mark: '"delta":{"type":"input_json_delta","partial_json":"', counts: true },
  { mark: '"delta":{"type":"thinking_delta","thinking":"', counts: true },
  { mark: '"delta":{"type":"signature_delta","signature":"', counts: false },
];

function createMessagesReader(): MessagesReader {
  let model: string | undefined;
  let reported: JsonObject = {};
  let hasUsage = false;
  let usageFinal = false;
  let outputBytes = 0;
  let complete = false;
  let error: string | undefined;

  const merge = (value: unknown): void => {
    const usage = asObject(value);
    if (usage === undefined) return;
    hasUsage = true;
    // Counts are cumulative, and a later event leaves out what did not change.
    const given = Object.entries(usage).filter(([, count]) => count !== null && count !== undefined);
    reported = { ...reported, ...Object.fromEntries(given) };
  };

  return {
    skim(event) {
      if (event.startsWith('event: ping')) return true;
      if (!event.startsWith('event: content_block_delta\n') || event.indexOf('\ndata', 34) !== -1) return false;
      for (const { mark, counts } of DELTAS) {
        const at = event.indexOf(mark);
        if (at === -1) continue;
        const open = at + mark.length - 1;
        const close = stringEnd(event, open);
        if (event[close] !== '}') return false;
        if (counts) outputBytes += close - open - 2;
        return true;
      }
      return false;
    },
    read(_name, data) {
      const event = parseObject(data);
      if (event === undefined) {
        outputBytes += Buffer.byteLength(data);
        return false;
      }
      switch (event['type']) {
        case 'message_start': {
          const message = asObject(event['message']);
          model ??= asText(message?.['model']);
          merge(message?.['usage']);
          break;
        }
        case 'content_block_start':
          outputBytes += blockBytes(event['content_block']);
          break;
        case 'content_block_delta':
          outputBytes += generatedBytes(event['delta']);
          break;
        case 'message_delta':
          merge(event['usage']);
          usageFinal ||= asText(asObject(event['delta'])?.['stop_reason']) !== undefined;
          break;
        case 'message_stop':
          complete = true;
          break;
        case 'error':
          error ??= providerError(event['error']);
          break;
        default:
      }
      return false;
    },
    skipped(bytes) {
      outputBytes += bytes;
    },
    readWhole(body) {
      model = asText(body['model']);
      error = body['type'] === 'error' || body['error'] !== undefined ? providerError(body['error']) : undefined;
      for (const block of asArray(body['content'])) outputBytes += blockBytes(block);
      merge(body['usage']);
      complete = true;
      usageFinal = true;
    },
    facts() {
      const isFinal = usageFinal || complete;
      const usage = hasUsage ? believable(anthropicUsage(reported, isFinal), outputBytes) : undefined;
      return {
        model,
        usage,
        outputBytes,
        complete,
        error,
        ...(usage !== undefined && usageFinal ? { usageFinal: true as const } : {}),
        ...(usage === undefined || model === undefined ? {} : rateFacts(model, reported)),
      };
    },
  };
}

function rateFacts(model: string, usage: JsonObject): { ratePercent?: number } {
  if (usage['speed'] === undefined && usage['inference_geo'] === undefined) return {};
  return { ratePercent: rateOf(model, usage['speed'], usage['inference_geo']) };
}

/** What the provider's tools brought is input; what the model wrote is output. */
function blockBytes(value: unknown): number {
  const block = asObject(value);
  return asText(block?.['type'])?.endsWith('_tool_result') === true ? 0 : generatedBytes(block);
}

/**
 * Anthropic's usage in disjoint classes. `input_tokens` EXCLUDES what was read from or written to the cache. The
 * top-level counts leave out the passes that compaction and advisors add, which `iterations` lists and which are billed
 * (https://platform.claude.com/docs/en/build-with-claude/compaction-threshold), so the larger of both is taken.
 * `output_tokens` at a stream's start counts next to nothing and is left unknown until the end says it.
 */
function anthropicUsage(usage: JsonObject, isFinal: boolean): Usage {
  const top = countsOf(usage);
  const passes = asArray(usage['iterations']).map((iteration) => countsOf(asObject(iteration) ?? {}));
  const sum = (key: keyof Counts): number =>
    Math.max(
      top[key] ?? 0,
      passes.reduce((total, pass) => total + (pass[key] ?? 0), 0),
    );
  const isKnown = (key: keyof Counts): boolean => top[key] !== undefined || passes.length > 0;
  const outputTokens = isFinal && isKnown('output') ? sum('output') : undefined;
  return {
    inputTokens: isKnown('input') ? sum('input') : undefined,
    cacheReadTokens: sum('cacheRead'),
    cacheWrite5mTokens: sum('cacheWrite5m'),
    cacheWrite1hTokens: sum('cacheWrite1h'),
    outputTokens,
    reasoningTokens: Math.min(asCount(asObject(usage['output_tokens_details'])?.['thinking_tokens']) ?? 0, outputTokens ?? 0),
    audioInputTokens: 0,
    audioOutputTokens: 0,
    webSearches: asCount(asObject(usage['server_tool_use'])?.['web_search_requests']) ?? 0,
  };
}

interface Counts {
  readonly input: number | undefined;
  readonly cacheRead: number | undefined;
  readonly cacheWrite5m: number | undefined;
  readonly cacheWrite1h: number | undefined;
  readonly output: number | undefined;
}

function countsOf(usage: JsonObject): Counts {
  const byTtl = asObject(usage['cache_creation']);
  const writtenForAnHour = asCount(byTtl?.['ephemeral_1h_input_tokens']) ?? 0;
  const written5m = asCount(byTtl?.['ephemeral_5m_input_tokens']) ?? 0;
  const written = Math.max(asCount(usage['cache_creation_input_tokens']) ?? 0, writtenForAnHour + written5m);
  // Tokens the breakdown leaves out are of the dearest kind it names.
  const unnamed = written - writtenForAnHour - written5m;
  return {
    input: asCount(usage['input_tokens']),
    cacheRead: asCount(usage['cache_read_input_tokens']),
    cacheWrite5m: written5m + (writtenForAnHour > 0 ? 0 : unnamed),
    cacheWrite1h: writtenForAnHour + (writtenForAnHour > 0 ? unnamed : 0),
    output: asCount(usage['output_tokens']),
  };
}
