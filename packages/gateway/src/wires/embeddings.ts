import { FieldReader } from './fields.ts';
import { countInput } from './input-tokens.ts';
import { asArray, asCount, asObject, asText } from './json.ts';
import { openaiUsage, believable } from './openai-usage.ts';
import { providerError } from './provider-error.ts';
import { openaiRefusal } from './refusal-body.ts';
import { spliceTopLevel } from './top-level-json.ts';
import type { BodyChange, JsonObject, ReplyFacts, StreamMeter, Wire } from './wire.ts';

/** OpenAI's embeddings: text in, vectors out, nothing generated. */
export const embeddings: Wire = {
  name: 'embeddings',
  path: '/v1/embeddings',
  providerKind: 'openai',
  readCall,
  changeBody,
  readReply,
  meterStream: () => createOpaqueMeter(),
  countInputTokens: (body, model) => (isTokens(body['input']) ? tokenCount(body['input']) : countInput({ input: body['input'] }, model, 0)),
  refusalBody: openaiRefusal,
};

/** Tokens a model adds around each input. */
const FRAME_TOKENS_PER_INPUT = 4;

function readCall(body: JsonObject, bodyBytes: number): ReturnType<Wire['readCall']> {
  const fields = new FieldReader(body);
  const model = fields.text('model');
  const { input } = body;
  if (input === undefined || input === null) fields.refuse('input', "Missing required parameter: 'input'.");
  else if (!isText(input) && !isTokens(input)) {
    fields.refuse(
      'input',
      "Invalid 'input': expected a string, an array of strings, an array of token numbers, or an array of such arrays, and not empty.",
    );
  }
  if (fields.invalid !== undefined) return { type: 'invalid', refusal: fields.invalid };
  const inputs = Array.isArray(input) ? input.length : 1;
  return {
    type: 'call',
    call: {
      model,
      stream: false,
      inputTokensMax: (isTokens(input) ? tokenCount(input) : bodyBytes) + inputs * FRAME_TOKENS_PER_INPUT,
      outputTokensLimit: undefined,
      choices: 0,
      webSearchesMax: 0,
      wantsStreamUsage: false,
      audioOutput: false,
    },
  };
}

function isText(input: unknown): boolean {
  return typeof input === 'string'
    ? input.length > 0
    : Array.isArray(input) && input.length > 0 && input.every((one) => typeof one === 'string');
}

function isTokens(input: unknown): boolean {
  if (!Array.isArray(input) || input.length === 0) return false;
  return (
    input.every((one) => Number.isInteger(one)) ||
    input.every((one) => Array.isArray(one) && one.length > 0 && one.every((token) => Number.isInteger(token)))
  );
}

function tokenCount(input: unknown): number {
  return asArray(input).reduce<number>((sum, one) => sum + (Array.isArray(one) ? one.length : 1), 0);
}

function changeBody(text: string, _body: JsonObject, change: BodyChange): string {
  return spliceTopLevel(text, change.model === undefined ? new Map() : new Map([['model', JSON.stringify(change.model)]]));
}

function readReply(body: JsonObject): ReplyFacts {
  const reported = asObject(body['usage']);
  // Some servers count only the total; all of it is input.
  const usage = openaiUsage(
    reported === undefined ? undefined : { ...reported, prompt_tokens: asCount(reported['prompt_tokens']) ?? reported['total_tokens'] },
  );
  return {
    model: asText(body['model']),
    usage: believable(usage === undefined ? undefined : { ...usage, outputTokens: 0 }, 0),
    outputBytes: 0,
    complete: true,
    error: providerError(body['error']),
    usageFinal: true,
  };
}

/** No provider streams embeddings; if one does, it passes and is charged by what its body bounds. */
function createOpaqueMeter(): StreamMeter {
  return {
    push: (chunk) => chunk,
    flush: () => undefined,
    facts: () => ({ model: undefined, usage: undefined, outputBytes: 0, complete: false, error: undefined }),
  };
}
