import { describe, expect, it } from '@jest/globals';
import { GatewayUnavailableError, type GatewayClient } from '@runpurse/core';
import { allowedBefore, ToolNames } from './tool-calls.ts';

const call = (namespace: string, given: string | undefined, attempt = 1) => ({ namespace, tool: 'lookup', attempt, given });

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
      ['run 0', 'run 1', 'run 0'],
    ],
  ])('where a model repeats its ids, of %s', (_, calls, expected) => {
    const names = new ToolNames(undefined);
    expect(calls.map((one, index) => names.nameOf(one, `run ${index}`).toolCallId)).toEqual(expected);
  });

  it('have a step id that another process of the thread finds again, and no other thread, node or call', () => {
    const stepIn = (thread: string, namespace: string, given: string | undefined) =>
      new ToolNames(thread).nameOf(call(namespace, given), crypto.randomUUID()).stepId;
    expect(stepIn('t', 'a:1', 'call_0')).toBe(stepIn('t', 'a:1', 'call_0'));
    expect(stepIn('t', 'a:1', undefined)).toBe(stepIn('t', 'a:1', undefined));
    const others = [stepIn('t', 'a:1', 'call_0'), stepIn('u', 'a:1', 'call_0'), stepIn('t', 'a:2', 'call_0'), stepIn('t', 'a:1', 'call_1')];
    expect(new Set(others).size).toBe(4);
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
