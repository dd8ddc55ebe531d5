import { deepStrictEqual } from 'node:assert/strict';
import { join } from 'node:path';
import { setTraceProcessors, setTracingDisabled } from '@openai/agents';
import { refusalOf, type RunShape } from '@runpurse/core';
import { Runpurse } from '@runpurse/openai-agents';
import { startGatewayProcess, type GatewayProcess } from '../support-agent/gateway-process.ts';
import { auditor, frontDesk } from './agents.ts';

/** A refund desk on a real gateway. Everything printed is read back from the gateway. */
async function desk({ url, key }: GatewayProcess): Promise<void> {
  setTracingDisabled(false);
  setTraceProcessors([]); // none of this goes to OpenAI
  const runpurse = new Runpurse({ baseUrl: url, apiKey: key });
  const runner = runpurse.runner({ workflowName: 'refund desk', groupId: 'customer_492' });

  say('1. Two agents, one run: a handoff, a tool that runs and one that is denied', '');
  const { finalOutput } = await runpurse.with({ runId: 'run_1827' }, () => runner.run(frontDesk, 'I was charged twice for order A-7.'));
  const refund = await readRun(runpurse, 'run_1827');
  say(...linesOf(refund), '', `answer: ${finalOutput}`, '');

  say('2. A run that would go on for ever, under a cap of its own', '');
  const error: unknown = await runpurse
    .with({ runId: 'run_1828', limitUsd: '0.05' }, () => runner.run(auditor, 'Check every order.', { maxTurns: 100 }))
    .catch((thrown: unknown) => thrown);
  const refusal = refusalOf(error);
  const audit = await readRun(runpurse, 'run_1828');
  say(...linesOf(audit), '', `${refusal?.code}: ${refusal?.message}`);
  await runpurse.client.close();

  // The example is a test too: what it shows must stay true.
  deepStrictEqual(
    refund.steps.map(({ name, kind, agent_id, status }) => [name, kind, agent_id, status]),
    [
      ['front-model', 'llm_call', 'front_desk', 'completed'],
      ['billing', 'handoff', 'front_desk', 'completed'],
      ['billing-model', 'llm_call', 'billing', 'completed'],
      ['order_lookup', 'tool_call', 'billing', 'completed'],
      ['billing-model', 'llm_call', 'billing', 'completed'],
      ['issue_refund', 'tool_call', 'billing', 'denied'],
      ['billing-model', 'llm_call', 'billing', 'completed'],
    ],
  );
  deepStrictEqual([refund.status, refund.session_id, refund.cost.total_usd], ['completed', 'customer_492', '0.01046']);
  deepStrictEqual([refusal?.code, audit.status, Number(audit.cost.total_usd) <= 0.05], ['budget_exceeded', 'failed', true]);
}

async function readRun(runpurse: Runpurse, runId: string): Promise<RunShape> {
  const run = await runpurse.client.readRun(runId);
  if (run === undefined) throw new Error(`the gateway knows no run ${runId}`);
  return run;
}

function linesOf(run: RunShape): readonly string[] {
  return [
    `run ${run.run_id} of session ${run.session_id}: ${run.status}, ${run.counts.requests} model calls, ${run.counts.tool_calls} tool calls`,
    ...run.steps.map(
      ({ agent_id, kind, name, status, cost_usd }) =>
        `  ${(agent_id ?? '').padEnd(11)} ${kind.padEnd(10)} ${(name ?? '').padEnd(14)} ${status.padEnd(10)} ${cost_usd} USD`,
    ),
    `  total ${run.cost.total_usd} USD (models ${run.cost.model_usd}, tools ${run.cost.tool_usd})`,
  ];
}

function say(...lines: readonly string[]): void {
  console.log(lines.join('\n'));
}

const gateway = await startGatewayProcess(join(import.meta.dirname, 'runpurse.yaml'));
try {
  await desk(gateway);
} finally {
  await gateway.stop();
}
