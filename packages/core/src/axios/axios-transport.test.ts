import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import { axiosTransport, nodeIds } from './index.ts';

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.close();
    server.closeAllConnections();
  }
});

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const request = (url: string) =>
  ({ method: 'POST', url, headers: { 'content-type': 'application/json' }, body: '{"a": 1}', timeoutMs: 300 }) as const;

describe('axiosTransport', () => {
  it.each([202, 302, 404, 500])('resolves with %i, headers in lower case and the body as it came', async (status) => {
    const url = await serve((_request, response) =>
      response.writeHead(status, { 'Retry-After': '5', location: 'http://127.0.0.1:9/' }).end('{"b": 2 }'),
    );
    expect(await axiosTransport().send(request(url))).toMatchObject({ status, headers: { 'retry-after': '5' }, body: '{"b": 2 }' });
  });

  it('sends the body byte for byte', async () => {
    let received = '';
    const url = await serve((incoming, response) => {
      incoming.on('data', (chunk: Buffer) => (received += chunk.toString()));
      incoming.on('end', () => response.end('{}'));
    });
    await axiosTransport().send({ ...request(url), body: '{"a":  "ü🙂"}' });
    expect(received).toBe('{"a":  "ü🙂"}');
  });

  it('follows no redirect, so that the key goes nowhere else', async () => {
    let strays = 0;
    const elsewhere = await serve((_request, response) => {
      strays += 1;
      response.end();
    });
    const url = await serve((_request, response) => response.writeHead(307, { location: elsewhere }).end());
    expect((await axiosTransport().send(request(url))).status).toBe(307);
    expect(strays).toBe(0);
  });

  it.each<readonly [string, RequestListener]>([
    ['no answer', () => {}],
    [
      'an answer that drips without end',
      (_request, response) => {
        response.writeHead(200);
        const drip = setInterval(() => response.write(' '), 20);
        response.on('close', () => clearInterval(drip));
      },
    ],
  ])('rejects in time after %s', async (_title, listener) => {
    const url = await serve(listener);
    const began = Date.now();
    await expect(axiosTransport().send(request(url))).rejects.toThrow();
    expect(Date.now() - began).toBeLessThan(3_000);
  });
});

it('nodeIds are unique and sort by time', async () => {
  const first = nodeIds.next('evt');
  expect(first).toMatch(/^evt_[0-9a-f]{32}$/);
  await new Promise((resolve) => setTimeout(resolve, 2));
  const many = Array.from({ length: 10_000 }, () => nodeIds.next('evt'));
  expect(new Set(many).size).toBe(10_000);
  expect(many.every((id) => id > first)).toBe(true);
});
