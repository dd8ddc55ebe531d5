import type { IncomingHttpHeaders } from 'node:http';
import { isContextHeader } from '@runpurse/core';
import type { Provider } from './providers.ts';

/** Belong to the connection or to the caller's identity, not to the call; `accept-encoding` too, since replies are metered as text. */
const NOT_FORWARDED = new Set([
  'accept-encoding',
  'authorization',
  'connection',
  'content-length',
  'cookie',
  'expect',
  'host',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'traceparent',
  'tracestate',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'x-api-key',
  'x-sandbox-attempt',
]);

/** Header names recur on every call: each is judged once. */
const judged = new Map<string, boolean>();
const JUDGED_KEPT = 1000;

function isForwarded(name: string): boolean {
  let verdict = judged.get(name);
  if (verdict === undefined) {
    const lower = name.toLowerCase();
    verdict = !NOT_FORWARDED.has(lower) && !isContextHeader(lower);
    if (judged.size < JUDGED_KEPT) judged.set(name, verdict);
  }
  return verdict;
}

/**
 * The caller's headers as the provider gets them: without ours, without the caller's key, with the provider's credential.
 * `rawHeaders` is node's flat list. Headers that `Connection` names are dropped too.
 */
export function forwardHeaders(rawHeaders: readonly string[], connection: string | undefined, provider: Provider): string[] {
  const headers = [...provider.headers];
  const perHop =
    connection === undefined || /^(keep-alive|close)$/i.test(connection)
      ? undefined
      : new Set(
          connection
            .toLowerCase()
            .split(',')
            .map((name) => name.trim()),
        );
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] ?? '';
    if (!isForwarded(name) || perHop?.has(name.toLowerCase()) === true) continue;
    headers.push(name, rawHeaders[index + 1] ?? '');
  }
  headers.push('accept-encoding', 'identity');
  return headers;
}

const NOT_RETURNED = new Set([
  'connection',
  'content-length',
  'keep-alive',
  'proxy-authenticate',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** The provider's reply headers as the caller gets them, in node's flat form; ours are added by the pipeline. */
export function replyHeaders(from: IncomingHttpHeaders): string[] {
  const headers: string[] = [];
  for (const name in from) {
    const value = from[name];
    if (value === undefined || NOT_RETURNED.has(name) || name.startsWith('x-runpurse-')) continue;
    if (typeof value === 'string') headers.push(name, value);
    else for (const one of value) headers.push(name, one);
  }
  return headers;
}
