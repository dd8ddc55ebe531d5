import { request } from 'node:http';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { json } from './provider.ts';
import { CHAT_REPLY, MESSAGE_REPLY } from './replies.ts';
import { openStage, type Stage } from './stage.ts';

/** Every header of facts §1a and §1b by which a caller speaks to a gateway, and the fallbacks of other gateways. */
const CONTEXT_SUFFIXES = [
  'Agent-Id',
  'Agent-Name',
  'Run-Id',
  'Session-Id',
  'Session-Name',
  'Session-Path',
  'Workflow-Id',
  'Customer-Id',
  'Step-Id',
  'Parent-Step-Id',
  'Tool-Call-Id',
  'Handoff-Id',
  'Graph-Node',
  'Iteration',
  'State-Hash',
  'Step-Kind',
  'Step-Source',
  'Step-Attempt',
  'Step-Input-Hash',
  'Agent-Anything',
  'Property-Team',
  'Cache-Enabled',
  'Cache-Read',
  'Cache-Save',
  'Cache-Bucket-Max-Size',
  'Cache-Seed',
  'Cache-Control',
  'Forced-Routing',
  'Prompt-Id',
  'Omit-Request',
  'Omit-Response',
];
const VALUES: Readonly<Record<string, string>> = {
  Iteration: '3',
  'Step-Attempt': '1',
  'Step-Kind': 'llm_call',
  'Step-Source': 'runtime',
  'Cache-Seed': '7',
};
const FIXED = {
  'x-alephant-model-override': 'gpt-other',
  'x-alephant-webhook-enabled': 'true',
  'x-alephant-posthog-api-key': 'phc_1',
  'x-alephant-posthog-host': 'https://posthog.example',
  'x-alephant-lytix-key': 'lx_1',
  'x-alephant-trace-id': 'trace-1',
  'X-Alephant-Agent': 'old-agent',
  'Collector-Step-Id': 'c-1',
  'Collector-Parent-Step-Id': 'c-0',
  'Collector-Retry-Count': '0',
  'x-litellm-trace-id': 'litellm-1',
  'Helicone-Session-Id': 'helicone-1',
  'Helicone-Auth': 'Bearer sk-helicone',
  traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
};

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
});
afterAll(() => stage.close());

const WIRES = [
  {
    path: '/v1/chat/completions',
    body: { model: 'gpt-e2e', messages: [{ role: 'user', content: 'hi' }], max_tokens: 10 },
    reply: CHAT_REPLY,
  },
  {
    path: '/v1/messages',
    body: { model: 'claude-e2e', messages: [{ role: 'user', content: 'hi' }], max_tokens: 10 },
    reply: MESSAGE_REPLY,
  },
];
const SPELLINGS = ['Alephant-', 'alephant-', 'runpurse-', 'RunPurse-'];

it.each(WIRES.flatMap((wire) => SPELLINGS.map((spelling) => ({ ...wire, spelling }))))(
  'no header of ours, spelled $spelling…, reaches the provider of $path; the caller’s others do',
  async ({ path, body, reply, spelling }) => {
    stage.reset();
    stage.provider.will(json(200, reply));
    const ours = {
      ...Object.fromEntries(
        CONTEXT_SUFFIXES.map((suffix) => [
          `${spelling}${suffix}`,
          VALUES[suffix] ?? `value-of-${suffix.toLowerCase()}-${spelling}${path.length}`,
        ]),
      ),
      ...FIXED,
    };
    const theirs = { 'openai-organization': 'org-1', 'anthropic-beta': 'beta-1', 'x-my-own': 'kept', 'user-agent': 'my-agent/1' };
    const status = await post(
      `${stage.gateway.url}${path}`,
      { ...ours, ...theirs, authorization: `Bearer ${stage.gateway.apiKey}`, 'content-type': 'application/json' },
      body,
    );
    expect(status).toBe(200);

    const [call] = stage.provider.calls;
    const names = (call?.rawHeaders ?? []).filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase());
    const values = JSON.stringify(call?.rawHeaders);
    expect(names.filter((name) => /alephant|runpurse|helicone|litellm|collector|traceparent/.test(name))).toEqual([]);
    expect(Object.values(ours).filter((value) => value.length > 4 && values.includes(value))).toEqual([]);
    expect(values).not.toContain(stage.gateway.apiKey);
    expect(call?.text).not.toContain(stage.gateway.apiKey);
    expect(call?.headers).toMatchObject(theirs);
    expect(call?.body).toEqual(body);
  },
);

/** By hand: fetch would join, lower-case or refuse some of these headers. */
async function post(url: string, headers: Readonly<Record<string, string>>, body: object): Promise<number> {
  return new Promise((resolve, reject) => {
    const call = request(url, { method: 'POST', headers }, (response) => {
      response.resume();
      response.on('end', () => resolve(response.statusCode ?? 0));
    });
    call.on('error', reject);
    call.end(JSON.stringify(body));
  });
}
