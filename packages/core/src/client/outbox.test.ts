import { describe, expect, it } from '@jest/globals';
import { createGatewayClient } from '../index.ts';
import { accepted, eventsOf, refused, scriptedHost, settle } from '../../test/scripted-host.ts';

describe('batches', () => {
  it('hold at most 100 events', async () => {
    const { options, transport } = scriptedHost({ batchEvents: 5_000 });
    const client = createGatewayClient(options);
    for (let index = 0; index < 250; index += 1) client.record({ type: 'step.started', run_id: `run-${index % 7}`, sequence: index });
    await client.flush();
    expect(Math.max(...transport.requests.map((request) => eventsOf(request).length))).toBe(100);
    expect(transport.events).toHaveLength(250);
  });

  it.each(['x', 'ü', '顧', '🙂'])('stay within 64 KiB of UTF-8, metadata full of %s included', async (letter) => {
    const { options, transport, problems } = scriptedHost();
    const client = createGatewayClient(options);
    for (let index = 0; index < 60; index += 1)
      client.record({ type: 'step.started', run_id: 'run-1', metadata: { note: letter.repeat(1 + ((index * 131) % 3_000)) } });
    await client.flush();
    const sizes = transport.requests.map(({ body = '' }) => Buffer.byteLength(body));
    expect(Math.max(...sizes)).toBeLessThanOrEqual(65_536);
    expect(Math.min(...sizes.slice(0, -1))).toBeGreaterThan(65_536 - 8_192 - 2_048);
    for (const { metadata } of transport.events) expect(Buffer.byteLength(JSON.stringify(metadata))).toBeLessThanOrEqual(8_192);
    expect(transport.events).toHaveLength(60);
    expect(problems.every(({ code }) => code === 'metadata_trimmed')).toBe(true);
  });

  it('keep what means something when metadata is too long', async () => {
    const { options, transport } = scriptedHost();
    const client = createGatewayClient(options);
    client.record({
      type: 'llm.call.completed',
      metadata: {
        big: 'b'.repeat(20_000),
        list: new Array(5_000).fill(1),
        message: 'm'.repeat(9_000),
        model: 'gpt',
        usage: { input_tokens: 3, output_tokens: 4 },
        small: 1,
      },
    });
    await client.flush();
    expect(transport.events[0]?.metadata).toMatchObject({
      metadata_truncated: true,
      model: 'gpt',
      usage: { input_tokens: 3, output_tokens: 4 },
      small: 1,
    });
    expect(Buffer.byteLength(JSON.stringify(transport.events[0]?.metadata))).toBeLessThanOrEqual(8_192);
  });

  it.each([403, 422])('that a firewall answered %i with its page are kept: it says nothing of them', async (status) => {
    const { options, transport, problems } = scriptedHost();
    const client = createGatewayClient(options);
    client.record({ type: 'step.started' });
    transport.reply = () => ({ status, headers: {}, body: '<html>Forbidden</html>' });
    expect(await client.flush()).toBe(1);
    expect(problems).toMatchObject([
      { code: 'events_delayed', message: expect.stringContaining(`the gateway answered ${status} with a page`) },
    ]);
    transport.reply = () => accepted;
    expect(await client.flush()).toBe(0);
  });

  it('that a login page took were not delivered: they are kept, and it is told', async () => {
    const { options, transport, problems } = scriptedHost();
    const client = createGatewayClient(options);
    client.record({ type: 'step.started' });
    transport.reply = () => ({ status: 200, headers: { 'content-type': 'text/html' }, body: '<html>Sign in</html>' });
    expect(await client.flush()).toBe(1);
    expect(problems).toMatchObject([
      { code: 'events_delayed', message: expect.stringContaining('it answered 200 with something else than JSON') },
    ]);
    transport.reply = () => accepted;
    expect(await client.flush()).toBe(0);
  });

  it('go without waiting for the interval when one is full', async () => {
    const { options, transport } = scriptedHost({ batchEvents: 10, flushIntervalMs: 60_000 });
    const client = createGatewayClient(options);
    for (let index = 0; index < 10; index += 1) client.record({ type: 'step.started' });
    await settle();
    expect(transport.events).toHaveLength(10);
  });

  it('are split until the one event that the gateway refuses stands alone; the others arrive in order', async () => {
    const { options, transport, problems } = scriptedHost();
    const client = createGatewayClient(options);
    transport.reply = (_request, events) => (events.some(({ sequence }) => sequence === 37) ? refused(409, 'run_ended') : accepted);
    const taken: unknown[] = [];
    for (let index = 0; index < 100; index += 1) client.record({ type: 'step.started', run_id: 'run-1', sequence: index });
    await client.flush();
    for (const request of transport.requests) {
      const events = eventsOf(request);
      if (!events.some(({ sequence }) => sequence === 37)) taken.push(...events.map(({ sequence }) => sequence));
    }
    expect(taken).toEqual(Array.from({ length: 100 }, (_, index) => index).filter((index) => index !== 37));
    expect(problems).toEqual([
      {
        code: 'events_rejected',
        events: 1,
        message: 'The gateway refused an event: the gateway answered 409 run_ended: no: run_ended',
        cause: 'run_ended',
      },
    ]);
  });

  it.each([1, 2, 3, 4, 5])('lose nothing and keep their order when the gateway falls away at request %i of a split', async (lost) => {
    const { options, transport, timers } = scriptedHost();
    const client = createGatewayClient(options);
    const taken: unknown[] = [];
    let calls = 0;
    transport.reply = (_request, events) => {
      calls += 1;
      if (calls === lost) return new Error('down');
      if (events.some(({ sequence }) => sequence === 6)) return refused(400, 'invalid_request');
      taken.push(...events.map(({ sequence }) => sequence));
      return accepted;
    };
    for (let index = 0; index < 8; index += 1) client.record({ type: 'step.started', run_id: 'run-1', sequence: index });
    await timers.advance(120_000);
    expect(taken).toEqual([0, 1, 2, 3, 4, 5, 7]);
    expect(client.pending).toBe(0);
  });

  it('of one run are never on the wire side by side', async () => {
    const { options, transport } = scriptedHost();
    const client = createGatewayClient(options);
    let answer = (): void => {};
    transport.reply = () => new Promise((resolve) => (answer = () => resolve(accepted)));
    const firsts: Promise<number>[] = [];
    for (let index = 0; index < 3; index += 1) {
      client.record({ type: 'step.started', run_id: 'run-1', sequence: index });
      firsts.push(client.flush());
    }
    await settle();
    expect(transport.events.map(({ sequence }) => sequence)).toEqual([0]);
    client.record({ type: 'step.started', run_id: 'run-2', sequence: 0 });
    firsts.push(client.flush());
    await settle();
    expect(transport.requests).toHaveLength(2);
    transport.reply = () => accepted;
    answer();
    await settle();
  });
});

describe('50 runs at once over a network that loses requests and replies (random, seed in the failure)', () => {
  it('report every event, once by its id, in the order of its run, and mix none', async () => {
    await withSeed(async (random) => {
      const { host, arrived } = lossyHost(random);
      const client = createGatewayClient(host.options);
      const runs = Array.from({ length: 50 }, (_, index) => client.run({ runId: `r${index}`, sessionId: `session of r${index}` }));
      const lives = runs.map(async (run) => {
        for (let step = 0; step < 20; step += 1) {
          await host.timers.sleep(Math.floor(random() * 300));
          run.step({ name: 's', kind: 'planning' }).complete();
        }
        await run.end({ status: 'completed' });
      });
      await host.timers.advance(600_000);
      await Promise.all(lives);
      expect(client.pending).toBe(0);
      for (const run of runs) expect(arrived.get(run.runId)).toEqual(Array.from({ length: 41 }, (_, index) => index + 1));
    });
  });

  it('lose no question and no settlement either', async () => {
    await withSeed(async (random) => {
      const { host, arrived } = lossyHost(random);
      const client = createGatewayClient(host.options);
      const runs = Array.from({ length: 50 }, (_, index) => client.run({ runId: `r${index}`, sessionId: `session of r${index}` }));
      const lives = runs.map(async (run, index) => {
        await run.start();
        for (let step = 0; step < 10; step += 1) {
          await run.authorizeTool({ tool: 't', toolCallId: `${index}-${step}`, stepId: `s${step}` });
          run.settleTool({ toolCallId: `${index}-${step}`, status: 'completed' });
        }
        await run.end({ status: 'completed' });
      });
      await host.timers.advance(600_000);
      await Promise.all(lives);
      expect(client.pending).toBe(0);
      for (const run of runs)
        expect(arrived.get(run.runId)?.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 22 }, (_, index) => index + 1));
    });
  });
});

/** A gateway behind a network that is slow at random and loses a fifth of the requests and of the replies. */
function lossyHost(random: () => number) {
  const host = scriptedHost({ random, maxQueue: 100_000 });
  const known = new Set<string>();
  /** Sequence numbers by run, as they first arrived. */
  const arrived = new Map<string, number[]>();
  host.transport.reply = async (_request, events) => {
    await host.timers.sleep(Math.floor(random() * 20));
    if (random() < 0.2) return new Error('lost on the way there');
    for (const event of events) {
      const run = String(event['run_id']);
      expect(event['session_id']).toBe(`session of ${run}`);
      if (known.has(event.event_id)) continue;
      known.add(event.event_id);
      arrived.set(run, [...(arrived.get(run) ?? []), Number(event['sequence'])]);
    }
    return random() < 0.2 ? new Error('lost on the way back') : accepted;
  };
  return { host, arrived };
}

async function withSeed(test: (random: () => number) => Promise<void>): Promise<void> {
  const seed = Date.now() % 1_000_000;
  try {
    await test(mulberry(seed));
  } catch (error) {
    throw new Error(`seed ${seed}: ${String(error)}`, { cause: error });
  }
}

/** A small seeded generator (mulberry32). */
function mulberry(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 4_294_967_296;
  };
}
