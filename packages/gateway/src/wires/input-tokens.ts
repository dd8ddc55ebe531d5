import { createRequire } from 'node:module';
import { bareModel } from '../pricing/model-limits.ts';
import { asArray, asObject } from './json.ts';
import type { JsonObject } from './wire.ts';

type CountTokens = (text: string, options: { disallowedSpecial: Set<string> }) => number;

const requireModule = createRequire(import.meta.url);
let countTokens: CountTokens | undefined;

/** Loads the tokenizer's tables (about 0.1 s, 60 MB): on first need, or beforehand from the gateway's start. */
export function loadTokenizer(): CountTokens {
  countTokens ??= (requireModule('gpt-tokenizer/encoding/o200k_base') as { countTokens: CountTokens }).countTokens;
  return countTokens;
}

/**
 * Other families cut text finer than o200k. Published comparisons found Claude 3.5 to count 16 % more on English and 20 to
 * 30 % more on mathematics and code; Anthropic's notes on Opus 4.7 say up to 35 % more than its forerunners: 1.76
 * together. Llama, Mistral, Qwen, Gemini and DeepSeek differ by 5 to 15 %. Twice covers them on ASCII. Other scripts differ
 * without bound, so there bytes are counted, which no byte-level vocabulary exceeds.
 */
const OTHER_FAMILIES_FACTOR = 2;
const OWN_FAMILY = /^(gpt-|o[1-9](-|$)|chatgpt-|codex|text-embedding-|computer-use)/;
/** Older OpenAI vocabularies (cl100k) cut English within 3 % of o200k; other scripts are left to bytes. */
const OLDER_VOCABULARY = /^(gpt-3|gpt-4(-|$)|text-embedding-)/;
const OLDER_VOCABULARY_FACTOR = 1.1;

/** A piece that merges only within itself costs quadratic time, so runs are cut. A cut can only add tokens. */
const PIECE_LENGTH = 512;
/** Beyond this the bytes are taken: no request may hold the event loop for long. */
const TEXT_LENGTH_MAX = 4 * 1024 * 1024;

/** Fields of a body that are not given to the model. */
const NOT_READ: ReadonlySet<string> = new Set([
  'model',
  'metadata',
  'user',
  'stream',
  'stream_options',
  'prompt_cache_key',
  'safety_identifier',
  'mcp_servers',
]);
/** Values that are payload of images, sound or files, bounded apart. */
const PAYLOAD_KEYS: ReadonlySet<string> = new Set(['image_url', 'url', 'data', 'file_data']);
const FRAME_TOKENS_PER_MESSAGE = 8;

/** An upper estimate of a body's input tokens; `apart` is what media and templates add. */
export function countInput(body: JsonObject, model: string, apart: number): number {
  const texts: string[] = [];
  for (const name in body) {
    if (NOT_READ.has(name)) continue;
    // Tools and formats reach the model with their structure, messages without it.
    if (name === 'tools' || name === 'functions' || name === 'response_format' || name === 'text' || name === 'output_config')
      texts.push(JSON.stringify(body[name]));
    else collectTexts(body[name], name, texts);
  }
  const frames = (asArray(body['messages']).length + asArray(body['input']).length + 1) * FRAME_TOKENS_PER_MESSAGE;
  return countTexts(texts, model) + frames + apart;
}

function collectTexts(value: unknown, key: string, texts: string[]): void {
  if (typeof value === 'string') {
    if (!(PAYLOAD_KEYS.has(key) && value.length > 64)) texts.push(value);
    return;
  }
  if (Array.isArray(value)) {
    for (const item of value) collectTexts(item, key, texts);
    return;
  }
  const object = asObject(value);
  if (object === undefined) return;
  // A text document's data is read as text.
  const textSource = object['type'] === 'text' && typeof object['data'] === 'string';
  for (const name in object) collectTexts(object[name], textSource && name === 'data' ? 'text' : name, texts);
  if (key === 'input' || key === 'arguments') for (const name in object) texts.push(name);
}

function countTexts(texts: readonly string[], model: string): number {
  const length = texts.reduce((sum, text) => sum + text.length, 0);
  if (length > TEXT_LENGTH_MAX) return texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  const name = bareModel(model);
  if (!OWN_FAMILY.test(name) || name.startsWith('gpt-oss'))
    return texts.reduce((sum, text) => sum + countForeign(text, OTHER_FAMILIES_FACTOR), 0);
  if (OLDER_VOCABULARY.test(name)) return texts.reduce((sum, text) => sum + countForeign(text, OLDER_VOCABULARY_FACTOR), 0);
  return texts.reduce((sum, text) => sum + countPieces(text), 0);
}

const OUTSIDE_ASCII = /[^\u0000-\u007f]+/g;

function countForeign(text: string, factor: number): number {
  let outside = 0;
  const ascii = text.replace(OUTSIDE_ASCII, (run) => {
    outside += Buffer.byteLength(run);
    return ' ';
  });
  return Math.min(Buffer.byteLength(text), outside + Math.ceil(countPieces(ascii) * factor));
}

function countPieces(text: string): number {
  const count = loadTokenizer();
  let tokens = 0;
  let from = 0;
  while (from < text.length) {
    let to = Math.min(from + PIECE_LENGTH, text.length);
    if (to < text.length) {
      // Words carry the space before them, so a cut there adds nothing.
      const space = text.lastIndexOf(' ', to);
      if (space > from + PIECE_LENGTH / 2) to = space;
    }
    tokens += count(text.slice(from, to), { disallowedSpecial: new Set() });
    from = to;
  }
  return tokens;
}
