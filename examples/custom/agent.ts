import { randomUUID } from 'node:crypto';
import { orThrow } from '@runpurse/core';
import { createClient } from '@runpurse/core/axios';
import OpenAI from 'openai';
import { TOOLS, runTool } from './tools.ts';

const url = process.env['RUNPURSE_URL'] ?? 'http://127.0.0.1:8787';
const apiKey = process.env['RUNPURSE_KEY'] ?? '';
const runpurse = createClient({ baseUrl: url, apiKey, source: 'custom' });
const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey });

/** An agent without a framework: a loop around the official client, in one run of Runpurse with a cap of its own. */
async function answer(task: string): Promise<string> {
  const messages: OpenAI.ChatCompletionMessageParam[] = [{ role: 'user', content: task }];
  const run = runpurse.run({ agentId: 'support', sessionId: 'customer_492', limitUsd: '0.05' });
  try {
    orThrow(await run.start());
    for (;;) {
      const headers = run.headers({ stepId: randomUUID() });
      const reply = await openai.chat.completions.create({ model: 'support-model', max_tokens: 200, messages, tools: TOOLS }, { headers });
      const message = reply.choices[0]?.message;
      if (message === undefined) throw new Error('the model gave no answer');
      messages.push(message);
      if (message.tool_calls === undefined) {
        await run.end({ status: 'completed', revenueUsd: '0.10' });
        return `${message.content ?? ''}\n(run ${run.runId})`;
      }
      for (const call of message.tool_calls) {
        if (call.type !== 'function') continue;
        const { name: tool, arguments: input } = call.function;
        const decision = await run.authorizeTool({ tool, toolCallId: call.id, stepId: call.id, input });
        const content = decision.proceed ? await runTool(tool, input) : `${tool} was refused.`;
        if (decision.proceed) run.settleTool({ toolCallId: call.id, status: 'completed' });
        messages.push({ role: 'tool', tool_call_id: call.id, content });
      }
    }
  } catch (error) {
    await run.end({ status: 'failed', reason: String(error) });
    throw error;
  }
}

console.log(await answer(process.argv[2] ?? 'Where is my order 7?'));
