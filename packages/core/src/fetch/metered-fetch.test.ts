import { describe, expect, it } from '@jest/globals';
import { createGatewayClient, refusalOf } from '../index.ts';
import { accepted, refused, scriptedHost, type Reply } from '../../test/scripted-host.ts';
import { meteredFetch, type FetchedCall } from './index.ts';

const GATEWAY = 'http://gateway.test';
const PROVIDER = 'http://provider.test/v1/chat/completions';

/** A call, a wire that answers with these statuses (0: not at all), and what was sent there. */
function callOn(statuses: readonly number[], reply: () => Reply = () => accepted) {
  const { options, transport } = scriptedHost({ failurePolicy: { authorize: 'closed' } });
  transport.reply = reply;
  const run = createGatewayClient(options).run({ runId: 'run-1' });
  const call: FetchedCall = { run, gateway: GATEWAY, place: { stepId: 'step-1' }, asked: { model: 'm' }, isCarried: false, tries: 0 };
  const sent: Headers[] = [];
  const wire = (async (_: unknown, init?: RequestInit) => {
    sent.push(new Headers(init?.headers));
    const status = statuses[sent.length - 1] ?? 200;
    if (status === 0) throw new Error('connection lost');
    return new Response('{}', { status, headers: { 'x-runpurse-request-id': `req_${sent.length}` } });
  }) as typeof fetch;
  return { transport, run, call, sent, ask: meteredFetch(() => call, wire) };
}

describe('a fetch for model clients', () => {
  it('carries the call to the gateway, each try under its own attempt, and says so', async () => {
    const { call, sent, ask, transport } = callOn([500, 200]);
    const init = { headers: { 'x-stainless-retry-count': '1', 'x-own': 'kept' } };
    await ask(`${GATEWAY}/v1/chat/completions`, init);
    expect(call).toMatchObject({ failure: { status: 500 }, requestId: 'req_1' });
    await ask(new Request(`${GATEWAY}/v1/chat/completions`, { method: 'POST', ...init }));
    expect(sent.map((headers) => [headers.get('alephant-run-id'), headers.get('alephant-step-attempt'), headers.get('x-own')])).toEqual([
      ['run-1', '1', 'kept'],
      ['run-1', '2', 'kept'],
    ]);
    expect(sent.map((headers) => headers.has('x-stainless-retry-count'))).toEqual([false, false]);
    expect(call).toMatchObject({ isCarried: true, failure: undefined, requestId: 'req_2' });
    expect(transport.requests).toEqual([]);
  });

  it.each([
    ['answered with an error billed nothing', 500, { input_tokens: 0, output_tokens: 0 }],
    ['that got no answer may have billed anything', 0, undefined],
  ])('elsewhere adds nothing, and asks for each further try; the one before %s', async (_, status, usage) => {
    const { run, sent, ask, transport } = callOn([status, 200]);
    await ask(PROVIDER).catch(() => {});
    expect(transport.requests).toEqual([]);
    await ask(PROVIDER);
    await run.end({ status: 'completed' });
    expect(sent.flatMap((headers) => [...headers.keys()])).toEqual([]);
    expect(transport.events.map(({ type, attempt }) => [type, attempt])).toEqual([
      ['llm.call.failed', 1],
      ['llm.call.started', 2],
      ['run.completed', undefined],
    ]);
    expect(transport.events[0]?.metadata['usage']).toEqual(usage);
  });

  it.each([
    ['is refused', () => refused(402, 'budget_exceeded'), 402],
    ['cannot be asked for and the policy is closed', () => new Error('down'), 503],
  ])('does not send a further try that %s, and answers as the gateway would', async (_, reply, status) => {
    const { sent, ask } = callOn([500], reply);
    await ask(PROVIDER);
    const response = await ask(PROVIDER);
    expect(sent).toHaveLength(1);
    expect([response.status, response.headers.get('x-should-retry')]).toEqual([status, 'false']);
    const { error } = (await response.json()) as { readonly error: { readonly code: string } };
    expect(refusalOf({ status, error })?.code).toBe(status === 402 ? 'budget_exceeded' : undefined);
  });

  it.each([
    ['at the gateway', `${GATEWAY}/v1/chat/completions`, 'run-1'],
    ['elsewhere', PROVIDER, null],
  ])('inside another of its kind counts a try once: %s', async (_, address, runId) => {
    const { call, sent, ask, transport } = callOn([500, 200]);
    const twice = meteredFetch(() => call, ask);
    await twice(address);
    expect([call.tries, sent.length, sent[0]?.get('alephant-run-id'), transport.requests.length]).toEqual([1, 1, runId, 0]);
    await twice(address);
    expect([call.tries, sent.length]).toEqual([2, 2]);
  });

  it('leaves a request alone that is no call of a run', async () => {
    const seen: Headers[] = [];
    const plain = meteredFetch(
      (headers) => void headers.delete('x-mark'),
      async (_: unknown, init?: RequestInit) => {
        seen.push(new Headers(init?.headers));
        return new Response('{}');
      },
    );
    await plain(GATEWAY, { headers: { 'x-mark': '1', 'x-own': 'kept' } });
    expect(seen.map((headers) => [...headers.keys()])).toEqual([['x-own']]);
  });
});
