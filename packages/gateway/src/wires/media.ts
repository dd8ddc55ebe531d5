import { bareModel } from '../pricing/model-limits.ts';
import { asObject, asText } from './json.ts';

/**
 * What images, sound and files among the input cost at most. Their bytes stand in the body as base64 and must not be
 * counted as text; what can't be seen (a remote file, a PDF's pages) is unbounded and falls back to the context window.
 */
export interface MediaBound {
  /** Characters of the body that are payload, not text. */
  payload: number;
  /** Tokens of images and sound. */
  tokens: number;
  /** The part of `tokens` that is sound. */
  audioTokens: number;
  unbounded: boolean;
}

export function noMedia(): MediaBound {
  return { payload: 0, tokens: 0, audioTokens: 0, unbounded: false };
}

/** Adds an image given by URL, data URL or bare base64. */
export function addImage(bound: MediaBound, data: unknown, model: string, detail: unknown): void {
  bound.tokens += imageTokensMax(model, detail);
  bound.payload += payloadLength(data);
}

/** Adds sound given as base64. */
export function addAudio(bound: MediaBound, data: unknown, format: unknown): void {
  const text = asText(data) ?? '';
  const tokens = Math.ceil((text.length * 0.75) / bytesPerAudioToken(text, format));
  bound.tokens += tokens;
  bound.audioTokens += tokens;
  bound.payload += text.length;
}

/** Adds a file: its pages are not counted here, so only the context window bounds it. */
export function addFile(bound: MediaBound, data: unknown): void {
  bound.unbounded = true;
  bound.payload += payloadLength(data);
}

/** A remote URL is text of a few bytes; a data URL or bare base64 is payload. */
function payloadLength(data: unknown): number {
  const text = asText(data) ?? '';
  return /^https?:\/\//i.test(text) ? 0 : text.length;
}

/**
 * The most tokens one image can be, by the model's documented arithmetic at its largest size.
 * OpenAI (https://platform.openai.com/docs/guides/images-vision#calculating-costs): tiles of 512 px, at most 8 after
 * scaling to 2048 × 768 (base + 8 tiles), or patches of 32 px (1,536; 2,500 at `high` and 10,000 at `original` since
 * GPT-5.4) times a multiplier of at most 1.62 (2.46 for nano). Anthropic (https://platform.claude.com/docs/en/build-with-claude/vision):
 * about 1,600 up to Claude 4.6, 4,784 since. Google: 258 a tile, 16 tiles. Others: 16,384, the largest default of open models (Qwen-VL).
 */
const IMAGE_TOKENS: readonly { readonly model: RegExp; readonly most: number; readonly low?: number; readonly high?: number }[] = [
  { model: /^gpt-4o-mini/, most: 2833 + 8 * 5667, low: 2833 },
  { model: /^(gpt-4\.1-nano|gpt-5-nano)/, most: Math.ceil(1536 * 2.46) },
  { model: /^(gpt-4\.1-mini|gpt-5-mini|o4-mini|codex-mini)/, most: Math.ceil(1536 * 1.72) },
  { model: /^(gpt-4o|chatgpt-4o|gpt-4-turbo|gpt-4-vision|gpt-4\.[15]|o1|o3|computer-use)/, most: 1536, low: 85 },
  { model: /^gpt-5(\.[0-3])?(-|$)/, most: 4050 },
  { model: /^(gpt-5|gpt-6|gpt-chat)/, most: 16_200, high: 4050, low: 4050 },
  { model: /^claude-(2|3|instant|(opus|sonnet|haiku)-4[-.][0-6]|(opus|sonnet)-4-2025)/, most: 1640 },
  { model: /claude/, most: 5000 },
  { model: /^gemini/, most: 16 * 258 + 258 },
];
const IMAGE_TOKENS_ELSEWHERE = 16_384;

function imageTokensMax(model: string, detail: unknown): number {
  const name = bareModel(model);
  const row = IMAGE_TOKENS.find((candidate) => candidate.model.test(name));
  if (row === undefined) return IMAGE_TOKENS_ELSEWHERE;
  if (detail === 'low') return row.low ?? row.most;
  return detail === 'high' ? (row.high ?? row.most) : row.most;
}

/** Gemini counts 32 tokens a second, OpenAI 10; the larger holds. */
const AUDIO_TOKENS_PER_SECOND = 32;
/** MP3 goes down to 8 kbit/s. */
const COMPRESSED_BYTES_PER_SECOND_MIN = 1000;

/** WAV says its rate in its header; the lowest of a compressed format is known; anything else may be a token a byte. */
function bytesPerAudioToken(base64: string, format: unknown): number {
  if (format === 'wav') {
    const header = Buffer.from(base64.slice(0, 64), 'base64');
    const rate = header.length >= 32 && header.toString('latin1', 0, 4) === 'RIFF' ? header.readUInt32LE(28) : 0;
    return rate >= AUDIO_TOKENS_PER_SECOND ? Math.min(rate, 16_000) / AUDIO_TOKENS_PER_SECOND : 1;
  }
  return format === 'mp3' || format === 'pcm16' ? COMPRESSED_BYTES_PER_SECOND_MIN / AUDIO_TOKENS_PER_SECOND : 1;
}

/** Anthropic's `source` of an image or document: what kind it is and what of it stands in the body. */
export function sourceOf(block: unknown): { readonly type: string | undefined; readonly data: unknown } {
  const source = asObject(asObject(block)?.['source']);
  return { type: asText(source?.['type']), data: source?.['data'] };
}
