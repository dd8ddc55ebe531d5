import { Agent } from '@mastra/core/agent';
import { createTool } from '@mastra/core/tools';
import { createStep, createWorkflow } from '@mastra/core/workflows';
import type { Runpurse } from '@runpurse/mastra';
import { z } from 'zod';

const request = z.object({ question: z.string() });
const decision = z.object({ reason: z.string() });

const orderLookup = createTool({
  id: 'order_lookup',
  description: 'Finds an order by its number.',
  inputSchema: z.object({ order: z.string() }),
  execute: async ({ order }) => `order ${order}: 40 USD, parcel damaged`,
});

/** The agents of a refund desk, and the workflow they work in: a decision, a gate, a payment. */
export function refundDesk({ withRunpurse, withWorkflow, step, gate }: Runpurse, gateway: { readonly url: string; readonly key: string }) {
  const modelOf = (name: string) => ({ id: `runpurse/${name}`, url: `${gateway.url}/v1`, apiKey: gateway.key }) as const;
  const defaultOptions = { modelSettings: { maxOutputTokens: 100 } };
  const records = new Agent(
    withRunpurse({
      id: 'records',
      name: 'Records',
      description: 'Knows all orders.',
      instructions: 'You know the records. Look orders up.',
      model: modelOf('records-model'),
      tools: { order_lookup: orderLookup },
      defaultOptions,
    }),
  );
  const desk = new Agent(
    withRunpurse({
      id: 'desk',
      name: 'Desk',
      instructions: 'You decide on refunds. Ask the records.',
      model: modelOf('desk-model'),
      agents: { records },
      defaultOptions,
    }),
  );
  const decide = createStep({
    id: 'decide',
    inputSchema: request,
    outputSchema: decision,
    execute: async ({ inputData, requestContext, abortSignal }) => {
      const { text, tripwire } = await desk.generate(inputData.question, { requestContext, abortSignal, maxSteps: 20 });
      if (tripwire !== undefined) throw new Error(tripwire.reason);
      return { reason: text };
    },
  });
  const pay = createStep({
    id: 'pay',
    inputSchema: decision,
    outputSchema: decision,
    execute: async ({ inputData }) => ({ reason: `${inputData.reason} Paid.` }),
  });
  return createWorkflow(withWorkflow({ id: 'refund', inputSchema: request, outputSchema: decision }))
    .then(step(decide))
    .then(gate({ id: 'may-pay', schema: decision, tool: 'payment' }))
    .then(step(pay))
    .commit();
}
