import { ToolMessage } from '@langchain/core/messages';
import { refusalOf } from '@runpurse/core';
import { createMiddleware, type AgentMiddleware } from 'langchain';
import { withRunpurse } from './carry.ts';
import { isBubbleUp, isCancellation } from './translate.ts';

/**
 * For `createAgent`: makes the agent's model carry its run to the gateway, and tells the model when a tool was denied so
 * that the agent can go on. Put it first. The run itself is attached by a RunpurseCallbackHandler in the agent's callbacks.
 */
export function runpurseMiddleware(): AgentMiddleware {
  return createMiddleware({
    name: 'Runpurse',
    wrapModelCall: (request, handler) => handler({ ...request, model: withRunpurse(request.model) }),
    wrapToolCall: async (request, handler) => {
      try {
        return await handler(request);
      } catch (error) {
        if (isBubbleUp(error) || isCancellation(error) || request.runtime.signal?.aborted === true) throw error;
        // Any middleware around tools turns LangChain's own answer to a tool's error off; this is that answer.
        const content = refusalOf(error)?.message ?? `${String(error)}\n Please fix your mistakes.`;
        return new ToolMessage({ content, tool_call_id: request.toolCall.id ?? '', name: request.toolCall.name, status: 'error' });
      }
    },
  });
}
