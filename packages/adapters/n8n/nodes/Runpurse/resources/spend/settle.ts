import { parseUsd } from '@runpurse/core';
import { NodeOperationError, type IDataObject } from 'n8n-workflow';
import { fieldsOf } from '../../../shared/attribution.ts';
import { refusalIn } from '../../../shared/refusal.ts';
import { textOf } from '../../../shared/transport.ts';
import {
  accepted,
  amount,
  ask,
  askAccepted,
  choice,
  handedOn,
  required,
  runOf,
  stated,
  warned,
  type Item,
  type Operation,
} from '../operation.ts';
import { toolCallIdField } from './tool-fields.ts';

export const settle: Operation = {
  value: 'settle',
  name: 'Settle',
  action: 'Settle the cost of a tool',
  description: 'Say what a tool came to, also one that Authorize could not ask for; settling again changes nothing',
  properties: [
    { ...toolCallIdField, default: '={{ $json.toolCallId }}', description: 'As Authorize put it out' },
    {
      displayName: 'Run ID',
      name: 'runId',
      type: 'string',
      default: '={{ $json.runId }}',
      description: 'As Authorize put it out, which in a retried execution was another run. Without one it is the run of this execution.',
    },
    {
      displayName: 'Cost (USD)',
      name: 'costUsd',
      type: 'string',
      default: '',
      placeholder: '0.012',
      description: 'What it cost. A price configured in the gateway wins; left empty, what was held is charged.',
    },
    {
      displayName: 'Status',
      name: 'status',
      type: 'options',
      options: [
        { name: 'Completed', value: 'completed' },
        { name: 'Failed', value: 'failed' },
        { name: 'Not Called', value: 'released', description: 'Nothing is charged' },
      ],
      default: 'completed',
    },
    {
      displayName: 'Tool',
      name: 'tool',
      type: 'string',
      default: '={{ $json.unchecked ? $json.tool : "" }}',
      description: 'As Authorize put it out when it could not reach the gateway: the call is recorded now',
    },
    {
      displayName: 'Expected Cost (USD)',
      name: 'estimatedUsd',
      type: 'string',
      default: '={{ $json.unchecked ? $json.estimatedUsd : "" }}',
      description: 'As Authorize put it out when it could not reach the gateway: charged if Cost is empty and the gateway has no price',
    },
  ],
  async execute(item) {
    const call = callOf(item);
    const body = stated({ ...keyOf(call), status: call.status, cost_usd: call.costUsd });
    const settlement = { method: 'POST', path: '/v1/tools/settle', body, survivesCancel: true } as const;
    const reply = await ask(item, settlement);
    if (refusalIn(reply)?.code !== 'not_found') return settledAs(item, accepted(item, reply), call);
    if (call.tool === '' || call.statedRunId === '') throw unknownCall(item, call);
    const unasked = { authorized: false, alreadySettled: false };
    if (call.status === 'released') return { ...settledAs(item, { charged_usd: '0', overage_usd: '0' }, call), ...unasked };
    const warnings = await record(item, call);
    // What it was charged by: the gateway's own price wins.
    return { ...settledAs(item, await askAccepted(item, settlement), call, warnings), ...unasked };
  },
  withoutGateway(item) {
    const { runId, toolCallId } = callOf(item);
    return { settled: false, runId, toolCallId };
  },
};

interface Call {
  readonly toolCallId: string;
  readonly runId: string;
  /** '' unless the field says it: only then is it sure that Authorize asked for this run. */
  readonly statedRunId: string;
  readonly tool: string;
  readonly status: string;
  readonly costUsd: string | undefined;
  readonly estimatedUsd: string | undefined;
}

function callOf(item: Item): Call {
  const statedRunId = handedOn(item, 'runId');
  return {
    toolCallId: required(item, 'toolCallId', BEHIND),
    runId: statedRunId || runOf(item),
    statedRunId,
    tool: handedOn(item, 'tool'),
    status: choice(item, 'status') ?? 'completed',
    costUsd: amount(item, 'costUsd'),
    estimatedUsd: handedOn(item, 'estimatedUsd') === '' ? undefined : amount(item, 'estimatedUsd'),
  };
}

const BEHIND = "give what Authorize put out; behind other nodes that is such as {{ $('Authorize').item.json.toolCallId }}";

const keyOf = ({ runId, toolCallId }: Call) => ({ run_id: runId, tool_call_id: toolCallId });

/** Nobody asked, but it happened: it is charged whatever the caps say, and once under its tool call id. */
async function record(item: Item, call: Call): Promise<readonly string[]> {
  const event = stated({
    type: call.status === 'failed' ? 'tool.call.failed' : 'tool.call.completed',
    source: 'n8n',
    name: call.tool,
    ...fieldsOf(item.place),
    ...keyOf(call),
    metadata: stated({ tool_name: call.tool, status: call.status, cost_usd: call.costUsd ?? call.estimatedUsd }),
  });
  const answer = await askAccepted(item, { method: 'POST', path: '/v1/agent/events', body: { events: [event] }, survivesCancel: true });
  const [decision] = answer['decisions'] as IDataObject[];
  return decision?.['allowed'] === false ? [String(decision['reasonMessage'])] : [];
}

function settledAs(item: Item, answer: IDataObject, call: Call, warnings: readonly string[] = []): IDataObject {
  return {
    settled: true,
    authorized: true,
    alreadySettled: answer['status'] === 'already_settled',
    runId: call.runId,
    toolCallId: call.toolCallId,
    tool: answer['tool'] ?? call.tool,
    chargedUsd: answer['charged_usd'],
    overageUsd: answer['overage_usd'],
    budgets: answer['budgets'],
    ...warned(item, [...warnings, ...chargedOtherwise(answer, call)]),
  };
}

/** A hold ends after a while, or with a gateway that starts anew, as if the tool had been called; what comes later changes nothing. */
function chargedOtherwise(answer: IDataObject, { status, costUsd, toolCallId }: Call): readonly string[] {
  const said = status === 'released' ? '0' : costUsd;
  const charged = textOf(answer['charged_usd']);
  if (said === undefined || parseUsd(charged) === parseUsd(said)) return [];
  const why =
    answer['status'] === 'already_settled'
      ? 'it was settled before, or its hold had ended by then (after 15 minutes, unless your gateway says otherwise)'
      : "your gateway's own price for this tool wins";
  return [`Tool call ${toolCallId} is charged ${charged === '' ? 'an unknown amount' : `$${charged}`}, not $${said}: ${why}.`];
}

/** A guess would charge it a second time beside a hold that stands elsewhere. */
function unknownCall(item: Item, { toolCallId, runId }: Call): Error {
  const message = `The gateway knows no tool call ${toolCallId} of run ${runId}, so its cost was not recorded`;
  return new NodeOperationError(item.context.getNode(), message, {
    itemIndex: item.index,
    description:
      "Authorize asked for another Tool Call ID or Run ID, or was refused, or could not ask. Give Run ID what Authorize put out, such as {{ $('Authorize').item.json.runId }}; and to record a call that nobody asked for, give Tool its name too.",
  });
}
