import { describe, expect, it } from '@jest/globals';
import { GatewayUnavailableError, type GatewayClient } from '@runpurse/core';
import { allowedBefore, ToolNames, type ToolUse } from './tool-calls.ts';

const call = (namespace: string, given: string | undefined, attempt = 1, more: Partial<ToolUse> = {}): ToolUse => ({
  ...{ namespace, tool: 'lookup', attempt, given, input: '{}' },
  ...more,
});

/** A run that numbers ids as a real one does, and makes them. */
function someRun() {
  const taken = new Set<string>();
  let made = 0;
  return {
    toolCallId: (given: string = `made ${made++}`): string => {
      const id = taken.has(given) ? `${given}~2` : given;
      taken.add(id);
      return id;
    },
  };
}

describe('the names of tool calls', () => {
  it.each([
    ['one node twice', [call('a:1', 'call_0'), call('a:1', 'call_0')], ['call_0', 'call_0~2']],
    ['two nodes', [call('a:1', 'call_0'), call('b:2', 'call_0')], ['call_0', 'call_0~2']],
    [
      'a node that is tried again after another used the id',
      [call('a:1', 'call_0'), call('b:2', 'call_0'), call('b:2', 'call_0', 2)],
      ['call_0', 'call_0~2', 'call_0~2'],
    ],
    [
      'calls by hand, tried again',
      [call('a:1', undefined), call('a:1', undefined), call('a:1', undefined, 2)],
      ['made 0', 'made 1', 'made 0'],
    ],
    ['another tool', [call('a:1', 'call_0'), call('a:1', 'call_0', 2, { tool: 'refund' })], ['call_0', 'call_0~2']],
    ['another input', [call('a:1', 'call_0'), call('a:1', 'call_0', 2, { input: '{"q":1}' })], ['call_0', 'call_0~2']],
  ])('where a model repeats its ids, of %s', (_, calls, expected) => {
    const names = new ToolNames(someRun(), undefined);
    expect(calls.map((one) => names.nameOf(one).toolCallId)).toEqual(expected);
  });

  it('made again after it failed is a further attempt of the same call, never one that was made before', () => {
    const names = new ToolNames(someRun(), undefined);
    const made = [1, 1, 2, 2].map((attempt) => {
      const name = names.nameOf(call('a:1', 'call_0', attempt));
      names.failed(name);
      return [name.toolCallId, name.attempt];
    });
    expect(made).toEqual([
      ['call_0', 1],
      ['call_0', 2],
      ['call_0', 3],
      ['call_0', 4],
    ]);
    expect(names.nameOf(call('a:1', 'call_0', 2))).toMatchObject({ toolCallId: 'call_0', attempt: 5 });
    expect(names.nameOf(call('a:1', 'call_0', 2))).toMatchObject({ toolCallId: 'call_0~2', attempt: 2 });
  });

  it('have a step id that another process of the thread finds again, and no other thread, node or call', () => {
    const stepIn = (thread: string, namespace: string, given: string | undefined, more?: Partial<ToolUse>) =>
      new ToolNames(someRun(), thread).nameOf(call(namespace, given, 1, more)).stepId;
    expect(stepIn('t', 'a:1', 'call_0')).toBe(stepIn('t', 'a:1', 'call_0'));
    expect(stepIn('t', 'a:1', undefined)).toBe(stepIn('t', 'a:1', undefined));
    const others = [
      ...[stepIn('t', 'a:1', 'call_0'), stepIn('u', 'a:1', 'call_0'), stepIn('t', 'a:2', 'call_0'), stepIn('t', 'a:1', 'call_1')],
      ...[stepIn('t', 'a:1', 'call_0', { tool: 'refund' }), stepIn('t', 'a:1', 'call_0', { input: '{"q":1}' })],
    ];
    expect(new Set(others).size).toBe(6);
  });

  it('have a step id that no secret of their input goes into', () => {
    const stepOf = (password: string) =>
      new ToolNames(someRun(), 't').nameOf(call('a:1', 'call_0', 1, { input: JSON.stringify({ password }) })).stepId;
    expect(stepOf('1234')).toBe(stepOf('5678'));
  });
});

describe('what a session was allowed before', () => {
  const client = (readSession: () => Promise<never>) => ({ readSession }) as unknown as GatewayClient;

  it('are the tool calls of its paused runs that were not denied, and of them the open ones are settled where they are held', async () => {
    const toolOf = (step_id: string | null, status: string) => ({
      step_id,
      tool_call_id: `id of ${step_id}`,
      tool: 'lookup',
      attempt: 1,
      status,
    });
    const runs: Record<string, object> = {
      paused: {
        run_id: 'paused',
        tools: [toolOf('held', 'open'), toolOf('paid', 'completed'), toolOf('no', 'denied'), toolOf(null, 'open')],
      },
      over: { run_id: 'over', tools: [toolOf('elsewhere', 'completed')] },
    };
    const settled: unknown[] = [];
    const fake = {
      readSession: async () => ({
        runs: [
          { run_id: 'paused', status: 'paused' },
          { run_id: 'over', status: 'completed' },
        ],
      }),
      readRun: async (id: string) => runs[id],
      run: ({ runId }: { readonly runId: string }) => ({
        settleTool: ({ toolCallId, status }: Record<string, unknown>) => settled.push([runId, toolCallId, status]),
      }),
    } as unknown as GatewayClient;
    const allowed = await allowedBefore(fake, 'session');
    expect([...allowed.keys()]).toEqual(['held', 'paid']);
    for (const hold of allowed.values()) hold.settle({ status: 'completed' });
    expect(settled).toEqual([['paused', 'id of held', 'completed']]);
  });

  it('is nothing while the gateway is away, and a fault of ours is no answer', async () => {
    expect(
      await allowedBefore(
        client(() => Promise.reject(new GatewayUnavailableError('away'))),
        'session',
      ),
    ).toEqual(new Map());
    await expect(
      allowedBefore(
        client(() => Promise.reject(new TypeError('ours'))),
        'session',
      ),
    ).rejects.toThrow('ours');
    expect(
      await allowedBefore(
        client(() => Promise.reject(new TypeError('not asked'))),
        undefined,
      ),
    ).toEqual(new Map());
  });
});
