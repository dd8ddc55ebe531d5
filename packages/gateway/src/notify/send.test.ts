import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import { createSender, type Sender } from './send.ts';

/** A receiver on a socket of its own, as rude as the test wants it. */
let servers: Server[] = [];
let sender: Sender | undefined;
afterEach(async () => {
  await sender?.close();
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
  servers = [];
});

async function receiver(handle: (request: IncomingMessage, response: ServerResponse, body: string) => void): Promise<string> {
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => handle(request, response, body));
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`;
}

const post = (url: string, privateAddresses: 'allow' | 'refuse' = 'allow') => {
  sender = createSender({ privateAddresses, timeoutMs: 300 });
  return sender.send(url, { 'webhook-id': 'ntc_1' }, '{"id":"ntc_1"}', new AbortController().signal);
};

describe('posting a notice', () => {
  it('sends JSON with its headers, and 2xx is delivered', async () => {
    const seen: unknown[] = [];
    const url = await receiver((request, response, body) => {
      seen.push([request.method, request.headers['content-type'], request.headers['webhook-id'], request.headers['user-agent'], body]);
      response.writeHead(202).end();
    });
    expect(await post(url)).toEqual({ status: 202, error: undefined });
    expect(seen).toEqual([['POST', 'application/json', 'ntc_1', 'Runpurse-Webhooks', '{"id":"ntc_1"}']]);
  });

  it.each([400, 404, 410, 429, 500, 503])('%i is not delivered', async (status) => {
    const url = await receiver((_request, response) => response.writeHead(status, { 'retry-after': '7' }).end('no'));
    expect(await post(url)).toEqual({ status, error: `answered ${status}`, retryAfterMs: 7_000 });
  });

  it.each([301, 302, 307, 308])('%i leads nowhere: the other address hears nothing', async (status) => {
    let led = 0;
    const elsewhere = await receiver((_request, response) => {
      led += 1;
      response.end();
    });
    const url = await receiver((_request, response) => response.writeHead(status, { location: elsewhere }).end());
    expect(await post(url)).toEqual({ status, error: `answered ${status}; redirects are not followed` });
    expect(led).toBe(0);
  });

  it('gives up on a receiver that never answers', async () => {
    const url = await receiver(() => undefined);
    expect(await post(url)).toEqual({ status: null, error: 'no answer within 0.3 s' });
  });

  it('gives up on a receiver that drips its headers, and is done with one that drips its body once the status is there', async () => {
    const dripping = await receiver((_request, response) => {
      response.socket?.write('HTTP/1.1 200 OK\r\nx-a: ');
      const timer = setInterval(() => response.socket?.write('a'), 50);
      response.socket?.on('close', () => clearInterval(timer));
    });
    expect(await post(dripping)).toMatchObject({ status: null, error: expect.stringContaining('no answer') });
  });

  it('reads no more of an answer than it must', async () => {
    let written = 0;
    const url = await receiver((_request, response) => {
      response.writeHead(200);
      const flood = (): void => {
        while (!response.destroyed && written < 200_000_000) {
          written += 65_536;
          if (!response.write(Buffer.alloc(65_536))) {
            response.once('drain', flood);
            return;
          }
        }
        response.end();
      };
      flood();
    });
    const before = process.memoryUsage().rss;
    expect(await post(url)).toEqual({ status: 200, error: undefined });
    await sender?.close();
    expect(written).toBeLessThan(50_000_000);
    expect(process.memoryUsage().rss - before).toBeLessThan(100_000_000);
  });

  it('says in words that a connection failed, and nothing the receiver said', async () => {
    const url = await receiver((request) => request.socket.destroy());
    expect(await post(url)).toMatchObject({ status: null, error: expect.stringMatching(/^the connection failed/) });
    const [server] = servers;
    server?.closeAllConnections();
    await new Promise((resolve) => server?.close(resolve));
    expect(await post(url)).toEqual({ status: null, error: 'the connection failed (ECONNREFUSED)' });
  });

  it('connects to no address of the own network when the operator refuses them', async () => {
    let heard = 0;
    const url = await receiver((_request, response) => {
      heard += 1;
      response.end();
    });
    for (const address of [url, url.replace('127.0.0.1', 'localhost'), url.replace('127.0.0.1', '[::ffff:127.0.0.1]')])
      expect(await post(address, 'refuse')).toMatchObject({ status: null, error: expect.stringContaining('public addresses only') });
    expect(heard).toBe(0);
    expect(await post(url.replace('127.0.0.1', 'localhost'))).toMatchObject({ error: undefined });
  });
});
