import type { Refusal } from '@runpurse/core';
import { parseJson } from './parse-json.ts';
import type { JsonObject } from './wire.ts';

/** A request body parsed once, here at the border. */
export function parseBody(
  text: string,
): { readonly type: 'parsed'; readonly body: JsonObject } | { readonly type: 'invalid'; readonly refusal: Refusal } {
  const invalid = (message: string): { readonly type: 'invalid'; readonly refusal: Refusal } => ({
    type: 'invalid',
    refusal: { code: 'invalid_json', message },
  });
  if (text.trim() === '') return invalid('The request has no body. Send a JSON object.');
  let body: unknown;
  try {
    body = parseJson(text);
  } catch (error) {
    return invalid(`The request body is not JSON: ${withoutContent(error)}.`);
  }
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    return invalid(
      `The request body must be a JSON object, not ${Array.isArray(body) ? 'a list' : body === null ? 'null' : `a ${typeof body}`}.`,
    );
  return { type: 'parsed', body: body as JsonObject };
}

/** V8 quotes the text around the mistake, which may be a prompt: only the place is kept. */
function withoutContent(error: unknown): string {
  const position = /position \d+(?: \(line \d+ column \d+\))?/.exec(error instanceof Error ? error.message : '')?.[0];
  return position === undefined ? 'it ends too early' : `mistake at ${position}`;
}
