import { join } from 'node:path';
import { RequestContext } from '@mastra/core/request-context';
import type { RunShape } from '@runpurse/core';
import { createRunpurse } from '@runpurse/mastra';
import { startGatewayProcess } from '../support-agent/gateway-process.ts';
import { refundDesk } from './agents.ts';

console.error = () => {}; // Mastra prints the errors that it also returns

const WORDS: Readonly<Record<string, string>> = { llm_call: 'model', tool_call: 'tool ' };

const gateway = await startGatewayProcess(join(import.meta.dirname, 'runpurse.yaml'));
try {
  const runpurse = createRunpurse({ baseUrl: gateway.url, apiKey: gateway.key });
  const desk = refundDesk(runpurse, gateway);
  const ask = async (runId: string, customer: string, question: string): Promise<void> => {
    console.log(`${customer}: ${question}`);
    const requestContext = new RequestContext();
    requestContext.set('runpurse', { sessionId: customer, customerId: customer });
    const result = await (await desk.createRun({ runId })).start({ inputData: { question }, requestContext });
    console.log(
      `desk: ${result.status === 'success' ? result.result.reason : `(${result.status === 'failed' ? result.error.message : result.status})`}`,
    );
    const run = await runpurse.client.readRun(runId);
    if (run !== undefined) console.log(`${traceOf(run).join('\n')}\n`);
  };
  await ask('run_1', 'ada', 'I want my money back for order 7.');
  await ask('run_2', 'ada', 'I want my money back for order 8.');
  await ask('run_3', 'bob', 'I want my money back for every order I ever made.');
  await runpurse.client.close();
} finally {
  await gateway.stop();
}

/** A run's steps, each under the one it stands in. */
function traceOf({ run_id, status, cost, steps }: RunShape): readonly string[] {
  const under = (parent: string | null, indent: string): readonly string[] =>
    steps
      .filter(({ parent_step_id }) => parent_step_id === parent)
      .flatMap((step) => [
        `${indent}${WORDS[step.kind ?? ''] ?? 'step '} ${step.name ?? ''}: ${step.status}, $${step.cost_usd ?? '?'}`,
        ...under(step.step_id, `${indent}  `),
      ]);
  return [...under(null, '  '), `  ${run_id} ${status}: $${cost.total_usd ?? '?'}`];
}
