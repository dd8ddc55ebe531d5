import { isStepCount, streamText, tool, type LanguageModel } from 'ai';
import type { Runpurse } from '@runpurse/ai-sdk';
import { z } from 'zod';

const order = z.object({ order: z.string() });
const tools = {
  order_lookup: tool({
    description: 'Finds an order by its number.',
    inputSchema: order,
    execute: ({ order }) => `order ${order}: delivered on Monday, 40 USD`,
  }),
  refund: tool({
    description: 'Pays an order back.',
    inputSchema: order,
    execute: ({ order }): string => {
      throw new Error(`nobody may ever pay back order ${order} here`);
    },
  }),
};

/** What a chat's route handler does: one question is one run of the customer's session, answered as a stream. */
export function answer(
  runpurse: Runpurse,
  model: LanguageModel,
  { runId, customer, question }: { readonly runId: string; readonly customer: string; readonly question: string },
): Promise<Response> {
  return runpurse.run({ runId, agentId: 'support', sessionId: customer }, (run) =>
    streamText({
      model: run.model(model),
      tools: run.tools(tools),
      instructions: 'You help customers with their orders.',
      prompt: question,
      maxOutputTokens: 100,
      stopWhen: isStepCount(20),
      onError: () => {}, // the stream tells the reader
    }).toUIMessageStreamResponse({ onError: (error) => (error instanceof Error ? error.message : 'failed') }),
  );
}
