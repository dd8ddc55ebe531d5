import { asObject } from './json.ts';

/** Keys of a reply whose strings are labels, echoes or ciphers, and not text the model wrote. */
const NOT_GENERATED: ReadonlySet<string> = new Set([
  'role',
  'type',
  'id',
  'call_id',
  'item_id',
  'status',
  'object',
  'index',
  'logprobs',
  'annotations',
  'citations',
  'obfuscation',
  'signature',
  'encrypted_content',
  'finish_reason',
  'stop_reason',
  'phase',
  'expires_at',
]);

/** Base64 of generated sound; 20 tokens a second (OpenAI) at 8 kbit/s, the least a format needs, is a token in 50 bytes. */
const AUDIO_BYTES_PER_TOKEN = 50;

/**
 * Bytes of text and tool arguments in a piece of a reply: every string counts unless its key is known to hold none, so
 * a field nobody heard of is counted and the sum stays an upper bound of the tokens generated.
 */
export function generatedBytes(value: unknown, key = ''): number {
  if (typeof value === 'string') {
    if (NOT_GENERATED.has(key)) return 0;
    return key === 'data' ? Math.ceil(value.length / AUDIO_BYTES_PER_TOKEN) : Buffer.byteLength(value);
  }
  if (Array.isArray(value)) {
    if (NOT_GENERATED.has(key)) return 0;
    return value.reduce<number>((sum, item) => sum + generatedBytes(item, key), 0);
  }
  const object = asObject(value);
  if (object === undefined || NOT_GENERATED.has(key)) return 0;
  let sum = 0;
  for (const name in object) sum += generatedBytes(object[name], name);
  return sum;
}
