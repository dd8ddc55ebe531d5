import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { RunningGateway } from '@runpurse/conformance';
import { createHooks } from '@runpurse/n8n-hooks';
import type { WorkflowFile } from '../../n8n/test/n8n.mts';
import type { NodeSpec } from '../../n8n/test/workflows.mts';
import { startLivingN8n, type Life, type LivingN8n, type Told } from './lives.mts';
import { chain, credential, edit, foreign, listed, setStage, type Stage } from './stage.mts';

let stage: Stage;
let gateway: RunningGateway;
let n8n: LivingN8n;
const doors: Server[] = [];

beforeAll(async () => {
  stage = await setStage();
  ({ gateway } = stage);
  n8n = await startLivingN8n(settings());
}, 60_000);
afterAll(async () => {
  for (const door of doors) door.close();
  await (n8n as LivingN8n | undefined)?.stop();
  await (stage as Stage | undefined)?.stop();
});

const settings = (more: object = {}) => ({
  RUNPURSE_URL: gateway.url,
  RUNPURSE_KEY: gateway.apiKey,
  RUNPURSE_FAILURE_POLICY: '',
  RUNPURSE_STEPS: '',
  RUNPURSE_INSTANCE: '',
  RUNPURSE_CARRIED: '',
  ...more,
});
const play = (nodes: readonly NodeSpec[], lives: readonly Life[], id = 'wf1') => n8n.play(foreign(id, stage, nodes), lives);

/** In an n8n of its own that ends right after. */
async function playOnce(workflow: WorkflowFile, lives: readonly Life[], environment: Readonly<Record<string, string>>): Promise<Told> {
  const own = await startLivingN8n(environment);
  try {
    return await own.play(workflow, lives);
  } finally {
    await own.stop();
  }
}

const after: NodeSpec = { ...edit, name: 'After' };
const wait: NodeSpec = { name: 'Wait', type: 'n8n-nodes-base.wait', version: 1.1, parameters: { amount: 100, unit: 'seconds' } };
const fail: NodeSpec = { name: 'Fail', type: 'n8n-nodes-base.stopAndError', parameters: { errorMessage: 'no luck' } };
const vendor = (): NodeSpec => ({
  name: 'Vendor',
  type: '@n8n/n8n-nodes-langchain.openAi',
  version: 1.8,
  parameters: { modelId: listed('gpt-x'), messages: { values: [{ content: 'Where is it?' }] }, simplify: false },
  ...credential('openAiApi', { apiKey: 'sk-x', url: `${stage.provider.url}/v1` }),
});
const stepsOf = async (runId: string) => (await gateway.readRun(runId))?.steps.map(({ step_id }) => step_id);

describe('with the hooks file, an execution', () => {
  it('that waits and is resumed is one run, its wait a step as long as it was', async () => {
    const { lived, runData } = await play([edit, chain, wait, after], [{ executionId: 'waits' }, { executionId: 'waits', how: 'resumed' }]);
    expect(lived.map(({ status }) => status)).toEqual(['waiting', 'success']);
    const run = await gateway.readRun('waits');
    expect(run).toMatchObject({ status: 'completed', cost: { total_usd: '0.003' }, counts: { requests: 1 } });
    const waited = run?.steps.find(({ step_id }) => step_id === 'Wait');
    expect(waited?.started_at).toBe(new Date(Number(runData['Wait']?.[0]?.['startTime'])).toISOString());
    expect(run?.steps.map(({ step_id }) => step_id).toSorted()).toEqual(['After', 'Chain', 'Edit', 'GPT', 'Start', 'Wait']);
  });

  it('retried after its failure is a run of what the retry did, and what the first one paid for is not paid again', async () => {
    const before = stage.provider.calls();
    const { lived } = await play(
      [chain, vendor(), fail],
      [{ executionId: 'fails' }, { executionId: 'fails-again', how: 'retried', mode: 'retry' }],
    );
    expect(lived.map(({ status }) => status)).toEqual(['error', 'error']);
    expect(stage.provider.calls() - before).toBe(2);
    expect(await gateway.readRun('fails')).toMatchObject({ status: 'failed', cost: { total_usd: '0.006' } });
    expect(await gateway.readRun('fails-again')).toMatchObject({ status: 'failed', cost: { total_usd: '0' }, counts: { requests: 0 } });
    expect(await stepsOf('fails-again')).toEqual(['Fail']);
  });

  it('run partly from the editor is a run of the nodes that ran', async () => {
    await play(
      [vendor(), after],
      [
        { executionId: 'whole', mode: 'manual' },
        { executionId: 'part', mode: 'manual', how: 'partly', until: 'After', changed: ['After'] },
      ],
    );
    expect(await gateway.readRun('whole')).toMatchObject({ cost: { total_usd: '0.003' }, counts: { requests: 1 } });
    expect(await gateway.readRun('part')).toMatchObject({ status: 'completed', cost: { total_usd: '0' }, counts: { requests: 0 } });
    expect(await stepsOf('part')).toEqual(['After']);
  });

  it('with a pinned model node is not charged for it', async () => {
    const before = stage.provider.calls();
    const pinned = { Vendor: [{ json: { model: 'gpt-x', usage: { prompt_tokens: 1000, completion_tokens: 100 } } }] };
    await play([vendor(), after], [{ executionId: 'pinned', mode: 'manual', pinned }]);
    expect(stage.provider.calls()).toBe(before);
    expect(await gateway.readRun('pinned')).toMatchObject({ status: 'completed', counts: { requests: 0 }, cost: { total_usd: '0' } });
  });

  it('with a model node that is switched off is not charged for what passes through it', async () => {
    const off: NodeSpec = { ...vendor(), disabled: true };
    const told: NodeSpec = {
      ...edit,
      parameters: { mode: 'raw', jsonOutput: '{"usage":{"prompt_tokens":1000,"completion_tokens":100}}' },
    };
    await play([told, off], [{ executionId: 'off' }]);
    expect(await gateway.readRun('off')).toMatchObject({ status: 'completed', counts: { requests: 0 } });
  });

  it('whose agent n8n runs again after its model failed has the second call as a retry', async () => {
    stage.provider.failNext(1);
    const { lived } = await play([{ ...chain, retryOnFail: true, maxTries: 2, waitBetweenTries: 1 }], [{ executionId: 'tries' }]);
    expect(lived).toEqual([{ status: 'success' }]);
    const run = await gateway.readRun('tries');
    expect(run).toMatchObject({ cost: { model_usd: '0', retry_usd: '0.003', total_usd: '0.003' }, counts: { requests: 2, retries: 1 } });
    expect(run?.requests.map(({ step_id, attempt, status, cost_usd }) => [step_id, attempt, status, cost_usd])).toEqual([
      ['GPT', 1, 'failed', null],
      ['GPT', 2, 'completed', '0.003'],
    ]);
  });

  it('that loops has a call and a step for each round, none of them a retry', async () => {
    const { lived } = await n8n.play(looping(), [{ executionId: 'loops' }]);
    expect(lived).toEqual([{ status: 'success' }]);
    const run = await gateway.readRun('loops');
    expect(run).toMatchObject({ cost: { model_usd: '0.009', retry_usd: '0' }, counts: { requests: 3, retries: 0 } });
    expect(run?.requests.map(({ step_id }) => step_id)).toEqual(['GPT', 'GPT #2', 'GPT #3']);
  });

  it('over budget does not start: n8n says why, nothing is called, and there is no run', async () => {
    await play([chain], [{ executionId: 'dear-1' }], 'dear');
    const before = stage.provider.calls();
    const { lived } = await play([chain], [{ executionId: 'dear-2' }], 'dear');
    expect(lived).toEqual([{ status: 'error', error: expect.stringMatching(/^Runpurse: .*per-workflow/) }]);
    expect(stage.provider.calls()).toBe(before);
    expect(await gateway.readRun('dear-2')).toBeUndefined();
  });

  it.each([
    ['open', 'success'],
    ['closed', 'error'],
  ])('starts or not under the failure policy %s while the gateway is away', async (policy, status) => {
    const away = settings({ RUNPURSE_URL: 'http://127.0.0.1:9', RUNPURSE_FAILURE_POLICY: policy });
    const { lived } = await playOnce(foreign('wf1', stage, [edit]), [{ executionId: `away-${policy}` }], away);
    expect(lived).toMatchObject([{ status }]);
  });

  it('is told of although the gateway was away at its end and n8n exits at once', async () => {
    const door = await openDoor({ fails: 1 });
    const away = settings({ RUNPURSE_URL: door.url });
    await playOnce(foreign('wf1', stage, [chain]), [{ executionId: 'exits' }], away);
    expect(door.refused()).toBe(1);
    expect(await gateway.readRun('exits')).toMatchObject({ status: 'completed', cost: { total_usd: '0.003' } });
  });
});

it('a gateway that comes back is told of the executions that ended while it was away', async () => {
  const door = await openDoor({ fails: 2 });
  const hooks = createHooks({ baseUrl: door.url, apiKey: gateway.apiKey });
  await hooks.workflow.postExecute[0]?.(
    { status: 'success', data: { resultData: { runData: {} } } },
    { id: 'wf2', name: 'Two' },
    'away-end',
  );
  expect(await gateway.readRun('away-end')).toBeUndefined();
  await hooks.n8n.stop[0]?.();
  expect(await gateway.readRun('away-end')).toMatchObject({ workflow_id: 'wf2', status: 'completed' });
});

/** Each of three items goes through the chain by itself. */
function looping() {
  const loop: NodeSpec = { name: 'Loop', type: 'n8n-nodes-base.splitInBatches', version: 3, parameters: { batchSize: 1, options: {} } };
  const three: NodeSpec = {
    name: 'Three',
    type: 'n8n-nodes-base.splitOut',
    version: 1,
    parameters: { fieldToSplitOut: 'items', options: {} },
  };
  const items: NodeSpec = { ...edit, parameters: { mode: 'raw', jsonOutput: '{"items":[1,2,3]}' } };
  const base = foreign('wf1', stage, [items, three, loop, chain]);
  const to = (node: string) => [{ node, type: 'main', index: 0 }];
  const connections = { ...base.connections, Loop: { main: [[], to('Chain')] }, Chain: { main: [to('Loop')] } };
  return { ...base, connections };
}

/** A way to the gateway on which the first reports find nobody. */
async function openDoor({ fails }: { readonly fails: number }) {
  let refused = 0;
  const server = createServer((request, response) => {
    void forward(request).then(({ status, body }) => response.writeHead(status, { 'content-type': 'application/json' }).end(body));
  }).listen(0, '127.0.0.1');
  async function forward(request: IncomingMessage): Promise<{ readonly status: number; readonly body: string }> {
    let body = '';
    for await (const chunk of request) body += String(chunk);
    if (request.url === '/v1/agent/events' && refused < fails) {
      refused += 1;
      return { status: 503, body: '{}' };
    }
    const headers = { authorization: request.headers.authorization ?? '', 'content-type': 'application/json' };
    const answer = await fetch(`${gateway.url}${request.url ?? ''}`, { method: 'POST', headers, body });
    return { status: answer.status, body: await answer.text() };
  }
  doors.push(server);
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url, refused: () => refused };
}
