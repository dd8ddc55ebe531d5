import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import type { JsonObject } from '../../wires/wire.ts';
import { chat } from './chat.ts';
import { asObject, readConversation } from './conversation.ts';
import { answerEmbeddings } from './embeddings.ts';
import { messages } from './messages.ts';
import { composeReply, type SandboxReply, type StreamPiece } from './reply.ts';
import { responses } from './responses.ts';
import { chooseReply, sandboxScripts, type SandboxScripts, type ScriptedReply } from './script.ts';

/** The model every sandbox has: it says what it heard. */
export const SANDBOX_ECHO_MODEL = 'echo';

/** Which try of a call this is; the gateway sets it for its sandbox alone. */
export const SANDBOX_ATTEMPT_HEADER = 'x-sandbox-attempt';

const MAX_BODY_BYTES = 64 * 1024 * 1024;

export interface SandboxOptions {
  /** Scripts by model, or a YAML or JSON file of them. */
  readonly scripts?: SandboxScripts | string | undefined;
  /** Epoch milliseconds, for the `created` fields. */
  readonly now?: (() => number) | undefined;
}

export interface Sandbox {
  /** Base URL with `/v1`, to be called like any provider's. */
  readonly url: string;
  /** The models it lists: the echo and the scripted ones. */
  readonly models: readonly string[];
  close(): Promise<void>;
}

/** How one wire shows a reply. */
interface Rendering {
  plain(reply: SandboxReply): object;
  stream(reply: SandboxReply): Iterable<StreamPiece>;
  errorEvent(error: { readonly type: string; readonly message: string }): string;
}

const RENDERINGS: Readonly<Record<string, Rendering>> = {
  '/chat/completions': chat,
  '/responses': responses,
  '/messages': messages,
};

/**
 * Starts the built-in provider on a free loopback port: OpenAI's and Anthropic's wires, deterministic and offline. The
 * gateway proxies to it as to any other provider, so what works here works there.
 */
export async function startSandbox(options: SandboxOptions = {}): Promise<Sandbox> {
  const scripts = loadScripts(options.scripts);
  const now = options.now ?? Date.now;
  const models = [...new Set([SANDBOX_ECHO_MODEL, ...Object.keys(scripts)])];
  const server = createServer((request, response) => {
    answer(request, response, { scripts, models, now }).catch((error: unknown) => {
      if (response.headersSent || response.destroyed) response.destroy();
      else sendError(request, response, 500, { type: 'server_error', message: `The sandbox failed: ${String(error)}` });
    });
  });
  server.keepAliveTimeout = 60_000;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/v1`,
    models,
    close: async () => {
      if (!server.listening) return;
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

/** Reads and checks scripts; a mistake is named with its file and path. */
function loadScripts(scripts: SandboxScripts | string | undefined): SandboxScripts {
  if (scripts === undefined) return {};
  const value: unknown = typeof scripts === 'string' ? parseYaml(readFileSync(scripts, 'utf8')) : scripts;
  const parsed = sandboxScripts.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new Error(
    `The sandbox scripts${typeof scripts === 'string' ? ` in ${scripts}` : ''} are not valid:\n${z.prettifyError(parsed.error)}`,
  );
}

interface SandboxState {
  readonly scripts: SandboxScripts;
  readonly models: readonly string[];
  readonly now: () => number;
}

async function answer(request: IncomingMessage, response: ServerResponse, state: SandboxState): Promise<void> {
  const path = (request.url ?? '/').replace(/\?.*$/, '').replace(/^(?:\/v1)+(?=\/)/, '');
  if (request.method === 'GET' && path === '/models') return sendJson(response, 200, listModels(state));
  if (request.method !== 'POST')
    return sendError(request, response, 404, {
      type: 'invalid_request_error',
      message: `Unknown request URL: ${request.method} ${request.url}`,
    });
  const body = await readJson(request);
  if (body === undefined)
    return sendError(request, response, 400, {
      type: 'invalid_request_error',
      message: 'We could not parse the JSON body of your request.',
    });
  if (path === '/embeddings') {
    const embeddings = answerEmbeddings(body);
    if (embeddings.type === 'answer') return sendJson(response, 200, embeddings.body);
    return sendError(request, response, 400, { type: 'invalid_request_error', message: embeddings.message });
  }
  const rendering = RENDERINGS[path];
  if (rendering === undefined)
    return sendError(request, response, 404, { type: 'invalid_request_error', message: `Unknown request URL: POST ${request.url}` });
  await answerConversation(request, response, { body, rendering, state });
}

async function answerConversation(
  request: IncomingMessage,
  response: ServerResponse,
  { body, rendering, state }: { readonly body: JsonObject; readonly rendering: Rendering; readonly state: SandboxState },
): Promise<void> {
  const read = readConversation(body);
  if (read.type === 'invalid') return sendError(request, response, 400, { type: 'invalid_request_error', message: read.message });
  const { conversation } = read;
  const attempt = attemptOf(request);
  const scripted = chooseReply(Object.hasOwn(state.scripts, conversation.model) ? state.scripts[conversation.model] : undefined, {
    ...conversation,
    attempt,
  });
  const fingerprint = createHash('sha256')
    .update(`${attempt}\0${JSON.stringify(body)}`)
    .digest('hex')
    .slice(0, 24);
  const reply = composeReply(conversation, scripted, { fingerprint, createdSeconds: Math.floor(state.now() / 1000) });

  if (scripted !== undefined && scripted.delay_ms > 0) await sleep(scripted.delay_ms);
  if (response.destroyed) return;
  const error = scripted?.error;
  if (error !== undefined && error.after_chunks === undefined) {
    return sendError(request, response, error.status, { type: error.type, message: error.message, code: error.code }, error.headers);
  }
  response.setHeader('x-request-id', `req_${fingerprint}`);
  if (conversation.stream) return sendStream(response, rendering, reply, scripted);
  if (error === undefined) return sendJson(response, 200, rendering.plain(reply));
  const text = JSON.stringify(rendering.plain(reply));
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  response.write(text.slice(0, text.length >> 1));
  await breakOff(response);
}

/** Breaks the connection once what was written is on its way. */
async function breakOff(response: ServerResponse): Promise<void> {
  response.flushHeaders();
  await sleep(5);
  response.destroy();
}

async function sendStream(
  response: ServerResponse,
  rendering: Rendering,
  reply: SandboxReply,
  scripted: ScriptedReply | undefined,
): Promise<void> {
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache' });
  const error = scripted?.error;
  let contentSent = 0;
  for (const piece of rendering.stream(reply)) {
    if (error !== undefined && (piece.kind === 'end' || (piece.kind === 'content' && contentSent >= (error.after_chunks ?? 0)))) {
      if (error.how === 'event') response.end(rendering.errorEvent(error));
      else await breakOff(response);
      return;
    }
    if (piece.kind === 'content') {
      if (contentSent > 0 && scripted !== undefined && scripted.chunk_delay_ms > 0) await sleep(scripted.chunk_delay_ms);
      contentSent += 1;
    }
    if (response.destroyed) return;
    if (!response.write(piece.text)) await Promise.race([once(response, 'drain'), once(response, 'close')]);
  }
  response.end();
}

function attemptOf(request: IncomingMessage): number {
  const value = Number(request.headers[SANDBOX_ATTEMPT_HEADER] ?? 1);
  return Number.isInteger(value) && value >= 1 ? value : 1;
}

function listModels(state: SandboxState): object {
  return { object: 'list', data: state.models.map((id) => ({ id, object: 'model', created: 0, owned_by: 'sandbox' })) };
}

async function readJson(request: IncomingMessage): Promise<JsonObject | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) return undefined;
    chunks.push(chunk);
  }
  try {
    return asObject(JSON.parse(Buffer.concat(chunks).toString('utf8')));
  } catch {
    return undefined;
  }
}

function sendJson(response: ServerResponse, status: number, body: object, headers: Readonly<Record<string, string>> = {}): void {
  const text = JSON.stringify(body);
  response.writeHead(status, { ...headers, 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  response.end(text);
}

/** An error as the wire's own provider words it. */
function sendError(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  error: { readonly type: string; readonly message: string; readonly code?: string | undefined },
  headers: Readonly<Record<string, string>> = {},
): void {
  const isAnthropic = (request.url ?? '').includes('/messages');
  const { type, message, code } = error;
  sendJson(
    response,
    status,
    isAnthropic ? { type: 'error', error: { type, message } } : { error: { message, type, param: null, code: code ?? null } },
    headers,
  );
}
