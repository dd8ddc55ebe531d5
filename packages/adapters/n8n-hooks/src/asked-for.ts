import type { NodeData, RunData, TaskData, WorkflowData } from './n8n.ts';
import { at } from './usage.ts';
import { OURS, endsOf, hasModel, nodesOf, usersOf } from './wiring.ts';

const OUR_MODEL = `${OURS}runpurseChatModel`;

/** A model's call that went well, and what n8n keeps of it. */
interface Lent {
  readonly node: NodeData;
  readonly task: TaskData;
}

/**
 * Was the gateway asked before this run of a tool, and so knows its cost? It was if Runpurse's model asked for the tool,
 * which is the last that answered the tool's agent before. Wiring tells less: a fallback model may have taken over, the node
 * be switched off, and Ask Before Tools be an expression. Where n8n kept no call of a model the wiring has to do.
 */
export function askedFor(run: RunData | undefined, workflow: WorkflowData): (tool: string, task: TaskData) => boolean {
  const nodes = nodesOf(workflow);
  const runData = run?.data?.resultData?.runData ?? {};
  const calls = nodes.flatMap((node) =>
    (runData[node.name] ?? [])
      .filter(({ data, error }) => data?.['ai_languageModel'] !== undefined && !error)
      .map((task) => ({ node, task })),
  );
  const isWired = (agent: string): boolean =>
    nodes.some((node) => node.disabled !== true && asks({ node }) && endsOf(workflow, node.name, 'ai_languageModel').includes(agent));
  /** A person's approval stands between an agent and its tool: it is a tool that has tools and no model. */
  const agentsAbove = (caller: string, runIndex = 0, depth = 0): readonly string[] => {
    const users = usersOf(workflow, caller, 'ai_tool');
    if (users.length === 0 || hasModel(workflow, caller) || depth > nodes.length) return [caller];
    const source = runData[caller]?.[runIndex]?.source?.[0];
    if (source?.previousNode !== undefined) return agentsAbove(source.previousNode, source.previousNodeRun, depth + 1);
    return users.flatMap((user) => agentsAbove(user, 0, depth + 1));
  };
  return (tool, task) => {
    const source = task.source?.[0];
    const callers = source?.previousNode === undefined ? usersOf(workflow, tool, 'ai_tool') : [source.previousNode];
    const agents = callers.flatMap((caller) => agentsAbove(caller, source?.previousNodeRun));
    const isOfAgent = ({ source: lent }: TaskData): boolean =>
      endsOf(workflow, lent?.[0]?.previousNode ?? '', 'ai_languageModel').some((agent) => agents.includes(agent));
    const answered = calls
      .filter((call) => isOfAgent(call.task) && isBefore(call.task, task))
      .reduce<Lent | undefined>((last, call) => (last !== undefined && isBefore(call.task, last.task) ? last : call), undefined);
    return answered === undefined ? agents.some(isWired) : asks(answered);
  };
}

/** The call itself says it, where Runpurse's model wrote it down; else what its node says. */
function asks({ node, task }: { readonly node: NodeData; readonly task?: TaskData }): boolean {
  if (node.type !== OUR_MODEL) return false;
  const marked = at(task?.data?.['ai_languageModel']?.[0]?.[0]?.json, 'response.generations.0.0.generationInfo.asksBeforeTools');
  return typeof marked === 'boolean' ? marked : at(node.parameters, 'options.gatesTools') !== false;
}

function isBefore(one: TaskData, other: TaskData): boolean {
  return (one.executionIndex ?? 0) < (other.executionIndex ?? 0);
}
