import { once } from 'node:events';
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { closeServer, readBody } from './stub-model/server.ts';

/**
 * Stands between the adapter and the gateway, as a network does: it notes every report, can fall away, and can disturb
 * reports as an unlucky network and an eager client would.
 */
export interface FrontDoor {
  readonly url: string;
  /** Bodies of all that was posted to `/v1/agent/events`, as the adapter sent them. */
  readonly reports: readonly string[];
  /** From now on nobody answers here: connections are cut and new ones refused. */
  fallAway(): Promise<void>;
  close(): Promise<void>;
}

const EVENTS_PATH = '/v1/agent/events';

/**
 * @param disturb Reports (not questions: what asks with `enforce=true` passes as it is) arrive twice and with their
 * events in reverse order, and the first answer to each is lost after it was delivered, so that it comes a third time.
 */
export async function openFrontDoor(gatewayUrl: string, { disturb = false }: { readonly disturb?: boolean } = {}): Promise<FrontDoor> {
  const reports: string[] = [];
  const answered = new Set<string>();

  async function pass(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [path, query = ''] = (request.url ?? '/').split('?');
    if (path !== EVENTS_PATH) {
      const upstream = forward(gatewayUrl, request, response);
      request.pipe(upstream);
      return;
    }
    const body = await readBody(request);
    reports.push(body);
    if (!disturb || new URLSearchParams(query).get('enforce') === 'true') {
      forward(gatewayUrl, request, response).end(body);
      return;
    }
    const disturbed = reverseEvents(body);
    await deliver(gatewayUrl, request, disturbed);
    if (hasNews(disturbed, answered)) {
      response.destroy();
      return;
    }
    forward(gatewayUrl, request, response, Buffer.byteLength(disturbed)).end(disturbed);
  }

  const server = createServer((request, response) => {
    pass(request, response).catch(() => response.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    reports,
    fallAway: () => closeServer(server),
    close: () => closeServer(server),
  };
}

/** The same request to the gateway; its answer, trailers and all, goes to `response`. A caller that hangs up hangs up there too. */
function forward(gatewayUrl: string, request: IncomingMessage, response: ServerResponse, contentLength?: number) {
  const headers = { ...request.headers, ...(contentLength === undefined ? {} : { 'content-length': String(contentLength) }) };
  const upstream = httpRequest(new URL(request.url ?? '/', gatewayUrl), { method: request.method, headers });
  upstream.on('response', (answer) => {
    response.writeHead(answer.statusCode ?? 502, answer.headers);
    answer.on('error', () => response.destroy());
    answer.on('end', () => response.addTrailers(answer.trailers));
    answer.pipe(response);
  });
  upstream.on('error', () => response.destroy());
  response.on('close', () => {
    if (!response.writableFinished) upstream.destroy();
  });
  return upstream;
}

/** Delivers a body and waits for the answer, which nobody gets. */
async function deliver(gatewayUrl: string, request: IncomingMessage, body: string): Promise<void> {
  const headers = { ...request.headers, 'content-length': String(Buffer.byteLength(body)) };
  const upstream = httpRequest(new URL(request.url ?? '/', gatewayUrl), { method: 'POST', headers });
  upstream.end(body);
  const [answer] = (await once(upstream, 'response')) as [IncomingMessage];
  await readBody(answer);
}

/** A batch with its events in reverse order; a single event stays as it is. */
function reverseEvents(body: string): string {
  const json = JSON.parse(body) as { events?: readonly unknown[] };
  return json.events === undefined ? body : JSON.stringify({ ...json, events: json.events.toReversed() });
}

/** Does this report hold an event not seen before? What it holds is seen from now on. */
function hasNews(body: string, seen: Set<string>): boolean {
  const json = JSON.parse(body) as { readonly event_id?: string; readonly events?: readonly { readonly event_id?: string }[] };
  const ids = (json.events ?? [json]).map(({ event_id }) => event_id ?? body);
  const isNew = ids.some((id) => !seen.has(id));
  for (const id of ids) seen.add(id);
  return isNew;
}
