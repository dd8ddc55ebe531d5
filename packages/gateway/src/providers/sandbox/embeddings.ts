import { createHash } from 'node:crypto';
import type { JsonObject } from '../../wires/wire.ts';
import { countTokens } from './conversation.ts';

const DEFAULT_DIMENSIONS = 64;
const MAX_DIMENSIONS = 4096;

export type EmbeddingsAnswer = { readonly type: 'answer'; readonly body: object } | { readonly type: 'invalid'; readonly message: string };

/** Embeddings as OpenAI answers them: a unit vector drawn from the text's hash, so equal texts are equal vectors. */
export function answerEmbeddings(body: JsonObject): EmbeddingsAnswer {
  const { model, input, dimensions, encoding_format: format } = body;
  if (typeof model !== 'string' || model === '') return { type: 'invalid', message: 'you must provide a model parameter' };
  const inputs = typeof input === 'string' || isTokens(input) ? [input] : Array.isArray(input) ? input : undefined;
  if (inputs === undefined || inputs.length === 0) return { type: 'invalid', message: "Missing required parameter: 'input'." };
  const size =
    typeof dimensions === 'number' && Number.isInteger(dimensions) && dimensions > 0
      ? Math.min(dimensions, MAX_DIMENSIONS)
      : DEFAULT_DIMENSIONS;
  const tokens = inputs.reduce<number>((sum, one) => sum + (isTokens(one) ? one.length : Math.max(1, countTokens(String(one)))), 0);
  const data = inputs.map((one, index) => {
    const vector = vectorOf(isTokens(one) ? one.join(' ') : String(one), size);
    const embedding = format === 'base64' ? Buffer.from(vector.buffer).toString('base64') : [...vector];
    return { object: 'embedding', index, embedding };
  });
  return { type: 'answer', body: { object: 'list', data, model, usage: { prompt_tokens: tokens, total_tokens: tokens } } };
}

function isTokens(value: unknown): value is number[] {
  return Array.isArray(value) && value.length > 0 && value.every((one) => typeof one === 'number');
}

function vectorOf(text: string, size: number): Float32Array<ArrayBuffer> {
  const vector = new Float32Array(size);
  let block = createHash('sha256').update(text).digest();
  for (let index = 0; index < size; index += 1) {
    const offset = (index % 8) * 4;
    if (index > 0 && offset === 0) block = createHash('sha256').update(block).digest();
    vector[index] = block.readInt32LE(offset) / 2 ** 31;
  }
  const length = Math.hypot(...vector) || 1;
  return vector.map((value) => value / length);
}
