import { startGateway, type RunningGateway } from '@runpurse/conformance';
import type { RunShape, SessionShape } from '@runpurse/core';

const usage = { input_tokens: 10, output_tokens: 500 };
/** Of one model call, and of the tool. */
export const CALL_USD = '0.00101';
const found = { tool_calls: [{ name: 'lookup', arguments: { q: 'x' } }], usage };
const planned = { tool_calls: [{ name: 'create_reasoning_plan', arguments: { plan: 'p', steps: [], ready: true } }], usage };
const done = { text: 'done', usage };
const extracted = { text: '{"memories":["The sky is blue.","Cats like fish."]}', usage };
const analysed = { text: '{"suggested_scope":"/facts","categories":["facts"],"importance":0.5}', usage };
const shaped = { text: '{"text":"done"}', usage };
const SCRIPTS = {
  'claude-desk': { cases: [{ prompt_contains: 'lookup', turns: [found, done] }], turns: [done] },
  // A name that LiteLLM knows to call tools.
  'gpt-4o-mini': { cases: [{ prompt_contains: 'lookup', turns: [found, done] }], turns: [done] },
  desk: { cases: [{ prompt_contains: 'lookup', turns: [found, done] }], turns: [done] },
  odd: {
    cases: [{ prompt_contains: 'lookup', turns: [{ ...found, tool_calls: [{ name: 'lookup', arguments: { q: '\ud800' } }] }, done] }],
    turns: [done],
  },
  again: { cases: [{ prompt_contains: 'lookup', turns: [found, found, done] }], turns: [done] },
  planner: { cases: [{ prompt_contains: 'Create an execution plan', turns: [planned] }], turns: [done] },
  rememberer: {
    cases: [
      { prompt_contains: 'Extract memory statements', turns: [extracted] },
      { prompt_contains: 'Content to store', turns: [analysed] },
    ],
    turns: [done],
  },
  shaper: { cases: [{ prompt_contains: 'lookup', turns: [found, done] }], turns: [shaped] },
  slow: [{ ...done, delay_ms: 5000 }],
  'too-long': [{ error: { status: 400, message: "This model's maximum context length is 8192 tokens.", code: 'context_length_exceeded' } }],
};

export const sandboxNamed = (name: string): object => ({ name, kind: 'sandbox', scripts: SCRIPTS });

export const start = (more: object = {}): Promise<RunningGateway> =>
  startGateway({
    config: {
      providers: [sandboxNamed('sandbox')],
      tools: [{ name: 'lookup', price_usd: '0.002' }],
      budgets: [{ scope: 'run', id: '*', limit_usd: '0.05' }],
      rate: { requests_per_minute: 100_000 },
      ...more,
    } as never,
  });

export const at = ({ url, apiKey: key }: RunningGateway): object => ({ url, key });

export async function read<Shape>(from: RunningGateway, path: string): Promise<Shape> {
  const response = await fetch(`${from.url}${path}`, { headers: { authorization: `Bearer ${from.apiKey}` } });
  return (await response.json()) as Shape;
}

/** The runs of a session, whole. */
export async function runsIn(gateway: RunningGateway, sessionId: string): Promise<readonly RunShape[]> {
  const { runs } = await read<SessionShape>(gateway, `/v1/sessions/${sessionId}`);
  return Promise.all(runs.map(({ run_id }) => read<RunShape>(gateway, `/v1/runs/${run_id}`)));
}

export const steps = (run: RunShape | undefined): unknown =>
  run?.steps.map(({ name, agent_id, status }) => `${agent_id}: ${name} ${status}`);
