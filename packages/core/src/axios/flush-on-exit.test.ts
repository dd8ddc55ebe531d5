import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';

const HOST = fileURLToPath(new URL('../../test/dying-host.ts', import.meta.url));

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly sequences: readonly number[];
  readonly ms: number;
}

/** Starts the host against a gateway, and tells how it ended and which events had arrived by then. */
async function end(way: string, { count = 3, name = 'work', textMax = Infinity, answers = true, isUp = true } = {}): Promise<Ended> {
  const sequences = new Set<number>();
  const server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (chunk: string) => (body += chunk));
    request.on('end', () => {
      const { events } = JSON.parse(body) as { events: { name: string; sequence: number }[] };
      for (const event of events) if (event.name === name) sequences.add(event.sequence);
      if (answers) response.writeHead(202).end('{"accepted":1,"rejected":0,"allowed":true,"decisions":[]}');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  if (!isUp) server.close();
  const began = Date.now();
  const child = spawn(
    process.execPath,
    ['--no-warnings', '--conditions=runpurse-source', HOST, way, `http://127.0.0.1:${port}`, String(count), name, String(textMax)],
    { stdio: 'ignore' },
  );
  const guard = setTimeout(() => child.kill('SIGKILL'), 20_000);
  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve) =>
    child.on('exit', (...ended) => resolve(ended)),
  );
  clearTimeout(guard);
  server.close();
  server.closeAllConnections();
  return { code, signal, sequences: [...sequences].sort((a, b) => a - b), ms: Date.now() - began };
}

describe('a host process that ends by', () => {
  it.each([
    ['a natural end', 0, null],
    ['process.exit()', 3, null],
    ['an uncaught error', 1, null],
    ['an unhandled rejection', 1, null],
    ['SIGTERM', null, 'SIGTERM'],
    ['SIGINT', null, 'SIGINT'],
    ['SIGTERM with a listener of its own', 7, null],
  ])('%s has delivered its events and ends as it would without us', async (way, code, signal) => {
    expect(await end(way)).toMatchObject({ code, signal, sequences: [0, 1, 2] });
  });

  it('process.exit() delivers many batches', async () => {
    expect((await end('process.exit()', { count: 1_000 })).sequences).toHaveLength(1_000);
  });

  it('process.exit() delivers more than one text can hold, and no letter of it is lost', async () => {
    const { sequences } = await end('process.exit()', { count: 1_000, name: '顧\u2028客'.repeat(60), textMax: 200_000 });
    expect(sequences).toHaveLength(1_000);
  });

  it.each(['a natural end', 'process.exit()', 'SIGTERM'])('%s is not held up by a gateway that is away', async (way) => {
    const { ms, sequences } = await end(way, { isUp: false });
    expect(sequences).toEqual([]);
    expect(ms).toBeLessThan(10_000);
  });

  it.each(['a natural end', 'process.exit()'])('%s is held up for a bounded time by a gateway that does not answer', async (way) => {
    const { ms } = await end(way, { answers: false });
    expect(ms).toBeLessThan(20_000);
  });
});
