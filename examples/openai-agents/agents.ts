import { Agent, tool } from '@openai/agents';
import { z } from 'zod';

const orderLookup = tool({
  name: 'order_lookup',
  description: 'Finds an order and its charges.',
  parameters: z.object({ order_id: z.string() }),
  execute: ({ order_id }) => `order ${order_id}: charged twice, 2 x 30 USD`,
});
const issueRefund = tool({
  name: 'issue_refund',
  description: 'Sends money back.',
  parameters: z.object({ order_id: z.string(), amount_usd: z.string() }),
  execute: () => {
    throw new Error('this must never run: the policy denies it');
  },
});

/** Two agents as anyone writes them: nothing in them knows of Runpurse. */
const billing = new Agent({
  name: 'billing',
  instructions: 'You settle charges. Look orders up before you refund.',
  model: 'billing-model',
  modelSettings: { maxTokens: 2_000 },
  tools: [orderLookup, issueRefund],
});

export const frontDesk = new Agent({
  name: 'front_desk',
  instructions: 'You greet customers and hand money matters to billing.',
  model: 'front-model',
  modelSettings: { maxTokens: 500 },
  handoffs: [billing],
});

export const auditor = new Agent({
  name: 'auditor',
  instructions: 'You check every order there is.',
  model: 'auditor-model',
  modelSettings: { maxTokens: 1_000 },
  tools: [orderLookup],
});
