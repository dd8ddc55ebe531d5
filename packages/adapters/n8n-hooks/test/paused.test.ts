import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createHooks } from '@runpurse/n8n-hooks';
import { startN8n, type N8n } from '../../n8n/test/n8n.mts';
import { chainOf, credentialOf, type NodeSpec } from '../../n8n/test/workflows.mts';
import { setStage, type Stage } from './stage.mts';

let stage: Stage;
let n8n: N8n;
const HOOKS = join(import.meta.dirname, '..', 'src', 'hooks.ts');

beforeAll(async () => {
  stage = await setStage();
  n8n = await startN8n();
}, 60_000);

afterAll(async () => {
  await (n8n as N8n | undefined)?.stop();
  await (stage as Stage | undefined)?.stop();
});

describe('a run that is paused at the gateway', () => {
  it('by a cap is left open when its execution fails by that, so that it can be resumed', async () => {
    const { gateway } = stage;
    const ask: NodeSpec = {
      name: 'Ask',
      parameters: { resource: 'chat', operation: 'complete', model: 'm', prompt: 'hi', options: { maxTokens: 200 } },
    };
    const hooks = { path: HOOKS, environment: { RUNPURSE_URL: gateway.url, RUNPURSE_KEY: gateway.apiKey } };
    const workflow = chainOf(credentialOf(gateway), [ask]);
    expect(await n8n.execute({ workflow, executionId: 'capped', hooks })).toMatchObject({ status: 'error' });
    const paused = await gateway.readRun('capped');
    expect([paused?.status, paused?.steps.map(({ step_id }) => step_id)]).toEqual(['paused', expect.arrayContaining(['Start', 'Ask'])]);
    await gateway.post('/v1/runs/capped/resume', {});
    expect(await gateway.readRun('capped')).toMatchObject({ status: 'running' });
  });

  it.each([
    ['error', 'paused'],
    ['crashed', 'paused'],
    ['success', 'completed'],
    ['canceled', 'stopped'],
  ])('by request is, after an execution that ended with %s, %s', async (status, ended) => {
    const { gateway } = stage;
    const id = `asked-${status}`;
    await gateway.post('/v1/runs', { run_id: id });
    await gateway.post(`/v1/runs/${id}/pause`, {});
    const hooks = createHooks({ baseUrl: gateway.url, apiKey: gateway.apiKey });
    const data = { resultData: { runData: { Edit: [{ data: { main: [[{ json: {} }]] } }] } } };
    const workflow = { id: 'wf', nodes: [{ name: 'Edit', type: 'n8n-nodes-base.set' }] };
    await hooks.workflow.postExecute[0]?.({ status, data }, workflow, id);
    expect(await gateway.readRun(id)).toMatchObject({ status: ended, steps: [{ step_id: 'Edit' }] });
    await hooks.n8n.stop[0]?.();
  });
});
