import { join } from 'node:path';
import { ChatOpenAI } from '@langchain/openai';
import { refusalOf, runShape, sessionShape } from '@runpurse/core';
import { RunpurseCallbackHandler, withRunpurse } from '@runpurse/langgraph';
import { supportAgent } from './agent.ts';
import { startGatewayProcess, type GatewayProcess } from './gateway-process.ts';
import { capOf, sessionLines, traceOf, type LoggedEvent } from './trace.ts';

/** The article's support agent on a real gateway. Everything printed is read back from the gateway's API. */
async function demo({ url, key }: GatewayProcess): Promise<void> {
  const runpurse = new RunpurseCallbackHandler({ baseUrl: url, apiKey: key });
  const model = withRunpurse(
    new ChatOpenAI({ model: 'support-model', maxTokens: 16_000, apiKey: key, configuration: { baseURL: `${url}/v1` } }),
  );
  const agent = supportAgent(model).withConfig({ callbacks: [runpurse] });

  const ask = (sessionId: string, runId: string, task: string) =>
    agent.invoke(
      { messages: [{ role: 'user', content: task }] },
      { configurable: { thread_id: sessionId }, metadata: { runpurse: { runId } } },
    );
  const read = async (path: string): Promise<unknown> => (await fetch(url + path, { headers: { authorization: `Bearer ${key}` } })).json();
  const readRun = async (runId: string) => runShape.parse(await read(`/v1/runs/${runId}`));

  say(`gateway ${url}`, '');

  say('1. A run and what it cost', '');
  await ask('customer_1827_support_session', 'run_1827', 'I want a refund for order A-7.');
  const failed = (await read('/v1/events?run_id=run_1827&type=step.failed')) as { readonly data: readonly LoggedEvent[] };
  say(...traceOf(await readRun('run_1827'), failed.data), '');

  say('2. Five runs of one session, none of them looks wrong', '');
  const session = 'customer_492_support_session';
  await ask(session, 'classify_issue', 'Classify: I was charged twice.');
  await ask(session, 'search_knowledge_base', 'Search the knowledge base: charged twice.');
  await ask(session, 'draft_response', 'Draft a response for customer 492.');
  await ask(session, 'retry_escalation', 'Escalate to billing.');
  await ask(session, 'summarize_outcome', 'Summarize the outcome.');
  runpurse.client.run({ runId: 'summarize_outcome', sessionId: session }).finance({ revenueUsd: '0.10' });
  await runpurse.client.flush();
  say(...sessionLines(sessionShape.parse(await read(`/v1/sessions/${session}`))), '');

  say('3. A run that would go on for ever', '');
  const error: unknown = await ask('customer_777_support_session', 'run_1828', 'Find out everything.').catch((thrown: unknown) => thrown);
  const refusal = refusalOf(error);
  if (refusal === undefined) throw new Error('the run was expected to meet its cap', { cause: error });
  const stopped = await readRun('run_1828');
  say(...traceOf(stopped, []));
  say(`cap of the run: ${capOf(stopped)}`, 'the next call was refused before it was made:');
  say(`  ${(error as { readonly status?: number }).status} ${refusal.code}: ${refusal.message}`);
}

function say(...lines: readonly string[]): void {
  console.log(lines.join('\n'));
}

const gateway = await startGatewayProcess(join(import.meta.dirname, 'runpurse.yaml'));
try {
  await demo(gateway);
} finally {
  await gateway.stop();
}
