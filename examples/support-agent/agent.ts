import { SystemMessage } from '@langchain/core/messages';
import { tool } from '@langchain/core/tools';
import { MessagesAnnotation, START, StateGraph } from '@langchain/langgraph';
import { ToolNode, toolsCondition } from '@langchain/langgraph/prebuilt';
import type { ChatOpenAI } from '@langchain/openai';
import { z } from 'zod';

const customerLookup = tool(({ customer_id }) => `customer ${customer_id}: Ada Lovelace, plan pro, order A-7 of 12 May`, {
  name: 'customer_lookup',
  description: 'Finds a customer and the orders of this customer.',
  schema: z.object({ customer_id: z.string() }),
});
const refundPolicyCheck = tool(({ order_id }) => `order ${order_id}: <<policy service answered with an unreadable document>>`, {
  name: 'refund_policy_check',
  description: 'Tells what the refund policy says about an order.',
  schema: z.object({ order_id: z.string() }),
});
const knowledgeSearch = tool(({ query }) => `3 articles about ${query}`, {
  name: 'knowledge_search',
  description: 'Searches the knowledge base.',
  schema: z.object({ query: z.string() }),
});
const tools = [customerLookup, refundPolicyCheck, knowledgeSearch];

const INSTRUCTIONS = new SystemMessage(
  'You are a support agent. Look things up with your tools before you answer. If the response of a tool can not be read, answer with the one word RETRY.',
);

/** A LangGraph agent as anyone writes it: nothing in it knows of Runpurse. */
export function supportAgent(model: ChatOpenAI) {
  const modelWithTools = model.bindTools(tools);

  async function think({ messages }: typeof MessagesAnnotation.State) {
    const reply = await modelWithTools.invoke([INSTRUCTIONS, ...messages]);
    if (reply.text === 'RETRY') throw new Error('failed tool response');
    return { messages: [reply] };
  }

  return new StateGraph(MessagesAnnotation)
    .addNode('think', think, { retryPolicy: { maxAttempts: 2, initialInterval: 50, jitter: false, logWarning: false } })
    .addNode('tools', new ToolNode(tools))
    .addEdge(START, 'think')
    .addConditionalEdges('think', toolsCondition)
    .addEdge('tools', 'think')
    .compile({ name: 'support_agent' });
}
