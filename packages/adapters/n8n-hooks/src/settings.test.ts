import { expect, it } from '@jest/globals';
import { settingsOf } from './settings.ts';

it('reads what n8n was started with', () => {
  expect(
    settingsOf({ RUNPURSE_KEY: ' rp_x ', RUNPURSE_FAILURE_POLICY: 'closed', RUNPURSE_INSTANCE: 'prod', RUNPURSE_STEPS: 'ai' }),
  ).toEqual({
    baseUrl: 'http://127.0.0.1:8787',
    apiKey: 'rp_x',
    failurePolicy: 'closed',
    instance: 'prod',
    steps: 'ai',
    carried: { nodes: [], credentials: [] },
  });
  expect(settingsOf({ RUNPURSE_KEY: 'k', RUNPURSE_URL: 'https://g.test' })).toMatchObject({
    baseUrl: 'https://g.test',
    failurePolicy: 'open',
    steps: 'all',
  });
});

it('reads which nodes and credentials the gateway carries', () => {
  const { carried } = settingsOf({
    RUNPURSE_KEY: 'k',
    RUNPURSE_CARRIED: ' node:OpenAI Chat Model, credential: Gateway: EU ,credential:abc1',
  });
  expect(carried).toEqual({ nodes: ['OpenAI Chat Model'], credentials: ['Gateway: EU', 'abc1'] });
});

it.each([
  [{}, 'RUNPURSE_KEY is not set'],
  [{ RUNPURSE_KEY: 'k', RUNPURSE_FAILURE_POLICY: 'close' }, 'RUNPURSE_FAILURE_POLICY is "close"; it must be open or closed.'],
  [{ RUNPURSE_KEY: 'k', RUNPURSE_STEPS: 'some' }, 'RUNPURSE_STEPS is "some"'],
  [{ RUNPURSE_KEY: 'k', RUNPURSE_CARRIED: 'GPT' }, 'RUNPURSE_CARRIED holds "GPT"; it must be node:NAME or credential:NAME'],
  [{ RUNPURSE_KEY: 'k', RUNPURSE_CARRIED: 'node:GPT,' }, 'RUNPURSE_CARRIED holds ""'],
  [{ RUNPURSE_KEY: 'k', RUNPURSE_CARRIED: 'credential: ' }, 'RUNPURSE_CARRIED holds "credential:"'],
])('tells a mistake when n8n starts: %p', (environment, message) => {
  expect(() => settingsOf(environment)).toThrow(message);
});
