import { createMiddleware, type AgentMiddleware } from 'langchain';
import { coveringModel, withRunpurse } from './carry.ts';

/**
 * For `createAgent`: makes the agent's model carry its run to the gateway. Put it last, where the model is the one that is
 * called; the run itself is attached by a RunpurseCallbackHandler in the agent's callbacks.
 */
export function runpurseMiddleware(): AgentMiddleware {
  return createMiddleware({
    name: 'Runpurse',
    wrapModelCall: (request, handler) => coveringModel(() => handler({ ...request, model: withRunpurse(request.model) })),
  });
}
