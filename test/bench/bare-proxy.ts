import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { Pool, type Dispatcher } from 'undici';

/**
 * The honest baseline: the least a proxy on node:http and undici does when it must look into what it carries. It passes the
 * headers on both ways and parses the request's JSON and, when the reply is not a stream, the reply's. No keys, no cap, no
 * ledger.
 */

const upstream = new Pool(process.env['UPSTREAM'] ?? '', { connections: 1024, pipelining: 1 });
const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'transfer-encoding', 'content-length', 'host', 'te', 'trailer', 'upgrade']);
/** Kept so that the parsing cannot be optimised away. */
let tokensSeen = 0;

/** Raw header pairs without those that speak of one connection only. */
function passedOn(raw: readonly (string | Buffer)[]): string[] {
  const headers: string[] = [];
  for (let index = 0; index < raw.length; index += 2) {
    const name = String(raw[index]);
    if (!HOP_BY_HOP.has(name.toLowerCase())) headers.push(name, String(raw[index + 1]));
  }
  return headers;
}

function forward(request: IncomingMessage, response: ServerResponse, body: Buffer): void {
  const parsed = JSON.parse(body.toString('utf8')) as { stream?: boolean; model: string };
  const isStream = parsed.stream === true;
  const chunks: Buffer[] = [];
  let status = 0;
  let headers: string[] = [];
  const handler: Dispatcher.DispatchHandler = {
    onRequestStart() {},
    onResponseStart(controller, statusCode) {
      status = statusCode;
      headers = passedOn(controller.rawHeaders as (string | Buffer)[]);
      if (!isStream) return;
      response.writeHead(status, headers);
      response.on('drain', () => controller.resume());
      response.on('close', () => {
        if (!response.writableFinished) controller.abort(new Error('The caller hung up.'));
      });
    },
    onResponseData(controller, chunk) {
      if (!isStream) chunks.push(chunk);
      else if (!response.write(chunk)) controller.pause();
    },
    onResponseEnd() {
      if (isStream) {
        response.end();
        return;
      }
      const reply = chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks);
      const { usage } = JSON.parse(reply.toString('utf8')) as { usage: { total_tokens: number } };
      tokensSeen += usage.total_tokens;
      headers.push('content-length', String(reply.length));
      response.writeHead(status, headers);
      response.end(reply);
    },
    onResponseError() {
      if (response.headersSent) response.destroy();
      else response.writeHead(502).end();
    },
  };
  upstream.dispatch({ method: 'POST', path: request.url ?? '/', headers: passedOn(request.rawHeaders), body }, handler);
}

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => forward(request, response, chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks)));
});
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (typeof address === 'object' && address !== null) process.stdout.write(`listening ${address.port}\n`);
});
process.on('SIGTERM', () => {
  process.stderr.write(`${tokensSeen} tokens\n`);
  process.exit(0);
});
