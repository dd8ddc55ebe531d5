import { join } from 'node:path';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { createRunpurse } from '@runpurse/ai-sdk';
import type { RunShape } from '@runpurse/core';
import { startGatewayProcess } from '../support-agent/gateway-process.ts';
import { answer } from './agent.ts';

const gateway = await startGatewayProcess(join(import.meta.dirname, 'runpurse.yaml'));
try {
  const runpurse = createRunpurse({ baseUrl: gateway.url, apiKey: gateway.key });
  const provider = createOpenAICompatible({ name: 'gateway', baseURL: `${gateway.url}/v1`, apiKey: gateway.key });
  const ask = async (runId: string, question: string): Promise<void> => {
    console.log(`customer: ${question}`);
    const response = await answer(runpurse, provider('support-model'), { runId, customer: 'customer_492', question });
    console.log(`support:  ${spoken(await response.text())}`);
    const run = await runpurse.client.readRun(runId);
    if (run !== undefined) console.log(`${traceOf(run).join('\n')}\n`);
  };
  await ask('run_1', 'I want my money back for order 7.');
  await ask('run_2', 'Tell me about all my orders.');
  await runpurse.client.close();
} finally {
  await gateway.stop();
}

/** The text, or the error, in a stream of UI messages. */
function spoken(stream: string): string {
  const parts = stream
    .split('\n')
    .filter((line) => line.startsWith('data: {'))
    .map(
      (line) => JSON.parse(line.slice('data: '.length)) as { readonly type: string; readonly delta?: string; readonly errorText?: string },
    );
  const error = parts.find(({ type }) => type === 'error')?.errorText;
  return error === undefined ? parts.map(({ type, delta }) => (type === 'text-delta' ? (delta ?? '') : '')).join('') : `(${error})`;
}

function traceOf(run: RunShape): readonly string[] {
  return [
    ...run.steps.map(
      ({ name, kind, status, cost_usd }) => `  ${kind === 'llm_call' ? 'model' : 'tool '} ${name}: ${status}, $${cost_usd ?? '?'}`,
    ),
    `  ${run.run_id} ${run.status}: $${run.cost.total_usd ?? '?'}`,
  ];
}
