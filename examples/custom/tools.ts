import type OpenAI from 'openai';

const ORDERS: Readonly<Record<string, string>> = { '7': 'delivered on Monday' };

export const TOOLS: OpenAI.ChatCompletionTool[] = [
  {
    type: 'function',
    function: {
      name: 'order_lookup',
      description: 'Finds an order by its number.',
      parameters: { type: 'object', properties: { order: { type: 'string' } }, required: ['order'] },
    },
  },
];

/** The agent's one tool. */
export async function runTool(_name: string, input: string): Promise<string> {
  const { order } = JSON.parse(input) as { readonly order: string };
  return ORDERS[order] ?? `there is no order ${order}`;
}
