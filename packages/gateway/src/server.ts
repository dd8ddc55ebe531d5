import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { getRequestListener, RequestError } from '@hono/node-server';
import { createApi, refusalResponse } from './api/index.ts';
import type { Gateway } from './gateway.ts';
import { handleModelCall } from './pipeline.ts';
import { respondRefusal } from './proxy/respond.ts';
import { answerWithAskedStatus } from './refusal-status.ts';
import { loadTokenizer, WIRES } from './wires/index.ts';

export interface RunningServer {
  /** Such as `http://127.0.0.1:8787`. */
  readonly url: string;
  readonly port: number;
  /** Takes no new calls, lets those in flight finish (at most `graceMs`), then closes. */
  close(graceMs?: number): Promise<void>;
}

/** Serves a gateway: model traffic on the lean path, everything else by the API. */
export async function startServer(
  gateway: Gateway,
  options: { readonly host?: string; readonly port?: number } = {},
): Promise<RunningServer> {
  const host = options.host ?? '127.0.0.1';
  const closing = new AbortController();
  const api = getRequestListener(createApi(gateway, { closing: closing.signal }).fetch, {
    overrideGlobalObjects: false,
    errorHandler: answerUnreadable,
  });

  const server = createServer(
    { maxHeaderSize: gateway.config.limits.max_header_bytes, keepAliveTimeout: 65_000, requestTimeout: 0 },
    (request, response) => {
      answerWithAskedStatus(request, response);
      const url = (request.url ?? '/').replace(ABSOLUTE_FORM, '');
      const question = url.indexOf('?');
      const path = modelPath(question === -1 ? url : url.slice(0, question));
      const wire = WIRES.get(path);
      if (wire === undefined) {
        void api(request, response);
        return;
      }
      if (request.method !== 'POST') {
        request.resume();
        response.setHeader('allow', 'POST');
        respondRefusal(
          response,
          wire,
          { code: 'method_not_allowed', message: `${path} takes POST, not ${request.method ?? '?'}.` },
          undefined,
        );
        return;
      }
      handleModelCall(gateway, wire, request, response, question === -1 ? '' : url.slice(question)).catch((fault: unknown) =>
        failModelCall(response, fault),
      );
    },
  );
  server.on('clientError', answerClientError);
  await listen(server, host, options.port ?? 0);

  // Its first use takes a tenth of a second: now, rather than during the first call that runs near its cap.
  setImmediate(loadTokenizer);

  const { port } = server.address() as AddressInfo;
  return {
    port,
    url: `http://${host.includes(':') ? `[${host}]` : host}:${port}`,
    close(graceMs = 30_000) {
      // Live streams of the log have no end of their own.
      closing.abort();
      return closeServer(server, graceMs);
    },
  };
}

/** A client that takes the gateway for a proxy names the host again; servers must read that too (RFC 9112, 3.2.2). */
const ABSOLUTE_FORM = /^https?:\/\/[^/?#]*(?=\/)/i;

/** The protocol's `/ai/*` is another name of `/v1/*`. */
function modelPath(path: string): string {
  return path.startsWith('/ai/') ? `/v1/${path.slice('/ai/'.length)}` : path;
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.removeListener('error', reject);
      resolve();
    });
  });
}

const IDLE_SWEEP_MS = 50;

function closeServer(server: Server, graceMs: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => server.closeAllConnections(), graceMs);
    // A kept-alive connection becomes idle when its last answer is out; nothing else would close it then.
    const sweep = setInterval(() => server.closeIdleConnections(), IDLE_SWEEP_MS);
    server.close(() => {
      clearTimeout(timer);
      clearInterval(sweep);
      resolve();
    });
    server.closeIdleConnections();
  });
}

/** A fault of ours: logged, and answered without its inside. */
function failModelCall(response: ServerResponse, fault: unknown): void {
  process.stderr.write(`runpurse: fault on the model path: ${fault instanceof Error ? (fault.stack ?? fault.message) : String(fault)}\n`);
  if (response.headersSent) {
    response.destroy();
    return;
  }
  response.writeHead(500, { 'content-type': 'application/json', 'x-should-retry': 'false' });
  response.end(
    JSON.stringify({
      error: {
        message: 'The gateway failed on this call; its log has the cause. If a provider was called, its worst case is charged.',
        type: 'gateway_error',
        param: null,
        code: 'internal',
      },
    }),
  );
}

/** A target or host that makes no URL. Anything else is a fault of ours. */
function answerUnreadable(error: unknown): Response {
  if (error instanceof RequestError)
    return refusalResponse({ code: 'invalid_request', message: `This is not a well-formed HTTP request: ${error.message}.` });
  throw error;
}

const CLIENT_ERRORS: Readonly<Record<string, { readonly status: string; readonly code: string; readonly message: string }>> = {
  HPE_HEADER_OVERFLOW: {
    status: '431 Request Header Fields Too Large',
    code: 'headers_too_large',
    message: 'The request headers are larger than this gateway takes (limits.max_header_bytes). Send fewer or shorter ones.',
  },
  ERR_HTTP_REQUEST_TIMEOUT: { status: '408 Request Timeout', code: 'request_timeout', message: 'The request did not arrive in time.' },
};

/** What node's parser refuses before there is a request: answered in the same envelope. */
function answerClientError(error: Error & { code?: string }, socket: Socket): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const known = CLIENT_ERRORS[error.code ?? ''] ?? {
    status: '400 Bad Request',
    code: 'invalid_request',
    message: 'This is not a well-formed HTTP request.',
  };
  const body = JSON.stringify({ error: { message: known.message, type: 'invalid_request_error', param: null, code: known.code } });
  socket.end(
    `HTTP/1.1 ${known.status}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\nx-should-retry: false\r\n\r\n${body}`,
  );
}
