import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { startServer, type RunningServer } from '../server.ts';
import { openTestApi, type TestApi } from './test-api.ts';

let api: TestApi;
let server: RunningServer;
beforeAll(async () => {
  api = await openTestApi();
  server = await startServer(api.gateway);
});
afterAll(async () => {
  await server.close(1000);
  await api.close();
});

interface Message {
  readonly id: number;
  readonly event: string;
  readonly data: { readonly seq: number; readonly run_id: string | null; readonly type: string };
}

/** Follows the log over a real socket. */
async function follow(
  query: string,
  headers: Record<string, string> = {},
  key = api.keys.plain,
): Promise<{ status: number; next(count: number): Promise<Message[]>; ended: Promise<void>; leave(): void }> {
  const leaving = new AbortController();
  const response = await fetch(`${server.url}/v1/events?${query}`, {
    headers: { authorization: `Bearer ${key}`, ...headers },
    signal: leaving.signal,
  });
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  const waiting: Message[] = [];
  let over: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => {
    over = resolve;
  });
  const read = async (): Promise<boolean> => {
    const chunk = await reader?.read().catch(() => undefined);
    if (chunk === undefined || chunk.done) {
      over();
      return false;
    }
    rest += chunk.value;
    const blocks = rest.split('\n\n');
    rest = blocks.pop() ?? '';
    for (const block of blocks) {
      if (block.startsWith(':')) continue;
      const fields = new Map(block.split('\n').map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]));
      waiting.push({
        id: Number(fields.get('id')),
        event: String(fields.get('event')),
        data: JSON.parse(String(fields.get('data'))) as Message['data'],
      });
    }
    return true;
  };
  // The first comment says that the stream stands.
  if (response.ok) await read();
  return {
    status: response.status,
    ended,
    leave: () => leaving.abort(),
    async next(count) {
      while (waiting.length < count && (await read()));
      if (waiting.length < count) void ended;
      return waiting.splice(0, count);
    },
  };
}

describe('the log', () => {
  it('pages through everything of a run, in either order, without gap or repeat', async () => {
    await api.post('/v1/runs', { run_id: 'log_1', session_id: 'log_s', agent_id: 'log_a' });
    await api.post('/v1/agent/events', {
      source: 'alephant',
      events: Array.from({ length: 9 }, (_, n) => ({ type: 'step.started', run_id: 'log_1', step_id: `s${n}`, event_id: `log_e${n}` })),
    });
    await api.post('/v1/tools/authorize', { run_id: 'log_1', tool: 't', tool_call_id: 'c', estimated_cost_usd: '0.01' });
    await api.post('/v1/tools/settle', { run_id: 'log_1', tool_call_id: 'c', cost_usd: '0.004' });
    const walk = async (query: string): Promise<{ seq: number; type: string; data: Record<string, unknown> }[]> => {
      const all: { seq: number; type: string; data: Record<string, unknown> }[] = [];
      for (let cursor: unknown = undefined; cursor !== null;) {
        const { body } = await api.get(`/v1/events?${query}&limit=4${cursor === undefined ? '' : `&cursor=${String(cursor)}`}`);
        all.push(...(body['data'] as typeof all));
        cursor = body['next_cursor'];
      }
      return all;
    };
    const up = await walk('run_id=log_1');
    expect(up.map(({ type }) => type)).toEqual(['run', ...Array<string>(9).fill('event'), 'reserve', 'settle']);
    expect(up.at(-1)?.data).toMatchObject({ status: 'completed', cost_usd: '0.004' });
    expect((await walk('run_id=log_1&order=desc')).map(({ seq }) => seq)).toEqual(up.map(({ seq }) => seq).reverse());
    expect((await walk('session_id=log_s&type=event')).length).toBe(9);
    expect((await walk('agent_id=log_a&type=step.started,reserve')).length).toBe(10);
    expect((await walk('run_id=log_1&type=decision')).length).toBe(0);
    expect((await api.get('/v1/events?run_id=log_1', { key: api.keys.other })).body['data']).toEqual([]);
  });

  it('is live: what happens is sent as it happens, and only what was asked for', async () => {
    const stream = await follow('live=true&run_id=live_1');
    await api.post('/v1/runs', { run_id: 'live_0' });
    await api.post('/v1/runs', { run_id: 'live_1' });
    await api.post('/v1/agent/events', { source: 'alephant', type: 'step.started', run_id: 'live_1', step_id: 's', event_id: 'live_e' });
    const [first, second] = await stream.next(2);
    expect([first?.event, second?.event]).toEqual(['run', 'event']);
    expect(first?.data.run_id).toBe('live_1');
    expect(second?.id).toBe(second?.data.seq);
    stream.leave();
  });

  it('goes on where a reader left off, by Last-Event-ID', async () => {
    const before = await follow('run_id=live_2', { accept: 'text/event-stream' });
    await api.post('/v1/runs', { run_id: 'live_2' });
    const [last] = await before.next(1);
    before.leave();
    await api.call('POST', '/v1/runs/live_2/pause');
    await api.call('POST', '/v1/runs/live_2/resume');
    const after = await follow('live=true&run_id=live_2', { 'last-event-id': String(last?.id) });
    expect((await after.next(2)).map(({ data }) => (data as unknown as { data: { op: string } }).data.op)).toEqual(['pause', 'resume']);
    after.leave();
  });

  it("never shows another workspace's rows", async () => {
    const theirs = await follow('live=true', {}, api.keys.other);
    await api.post('/v1/runs', { run_id: 'live_3' });
    await api.post('/v1/runs', { run_id: 'live_4' }, { key: api.keys.other });
    expect((await theirs.next(1))[0]?.data.run_id).toBe('live_4');
    theirs.leave();
  });

  it('lets one key hold a bounded number of streams, and gives a place back when a reader leaves', async () => {
    const streams = await Promise.all(Array.from({ length: 20 }, () => follow('live=true', {}, api.keys.bound)));
    expect(streams.every(({ status }) => status === 200)).toBe(true);
    const refused = await fetch(`${server.url}/v1/events?live=true`, { headers: { authorization: `Bearer ${api.keys.bound}` } });
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '5']);
    await refused.text();
    streams[0]?.leave();
    for (let waited = 0; ; waited += 1) {
      const again = await follow('live=true', {}, api.keys.bound);
      again.leave();
      if (again.status === 200 || waited > 50) {
        expect(again.status).toBe(200);
        break;
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    for (const stream of streams) stream.leave();
  });

  it('does not keep a closing server waiting', async () => {
    const second = await startServer(api.gateway);
    const response = await fetch(`${second.url}/v1/events?live=true`, { headers: { authorization: `Bearer ${api.keys.admin}` } });
    const reading = response.text();
    const began = performance.now();
    await second.close(20_000);
    expect(performance.now() - began).toBeLessThan(5_000);
    expect(await reading).toMatch(/^: runpurse live log/);
  });
});
