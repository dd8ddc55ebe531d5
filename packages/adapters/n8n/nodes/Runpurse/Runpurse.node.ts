import { NodeConnectionTypes, NodeOperationError } from 'n8n-workflow';
import type { IExecuteFunctions, INodeExecutionData, INodeType, INodeTypeDescription } from 'n8n-workflow';
import { settingsOf } from '../shared/transport.ts';
import { loadOptions } from './methods/load-options.ts';
import { budget } from './resources/budget/index.ts';
import { chat } from './resources/chat/index.ts';
import { event } from './resources/event/index.ts';
import { itemOf, perform, propertiesOf } from './resources/operation.ts';
import { run } from './resources/run/index.ts';
import { session } from './resources/session/index.ts';
import { spend } from './resources/spend/index.ts';

const RESOURCES = [budget, chat, event, run, session, spend];

/** Runs, spend, sessions, budgets, events and model calls at the gateway, each item on its own. */
export class Runpurse implements INodeType {
  description: INodeTypeDescription = {
    displayName: 'Runpurse',
    name: 'runpurse',
    icon: { light: 'file:../../icons/runpurse.svg', dark: 'file:../../icons/runpurse.dark.svg' },
    group: ['transform'],
    version: 1,
    subtitle: '={{ $parameter["operation"] + ": " + $parameter["resource"] }}',
    description: 'Give every execution a cost, a cap, a policy and a margin',
    defaults: { name: 'Runpurse' },
    usableAsTool: true,
    inputs: [NodeConnectionTypes.Main],
    outputs: [NodeConnectionTypes.Main],
    credentials: [{ name: 'runpurseApi', required: true }],
    properties: [
      {
        displayName: 'Resource',
        name: 'resource',
        type: 'options',
        noDataExpression: true,
        options: RESOURCES.map(({ name, value }) => ({ name, value })),
        default: 'run',
      },
      ...RESOURCES.flatMap(propertiesOf),
    ],
  };

  methods = { loadOptions };

  async execute(this: IExecuteFunctions): Promise<INodeExecutionData[][]> {
    const settings = await settingsOf(this);
    const output: INodeExecutionData[] = [];
    for (let index = 0; index < this.getInputData().length; index += 1) {
      try {
        const resource = this.getNodeParameter('resource', index);
        const operation = this.getNodeParameter('operation', index);
        const found = RESOURCES.find(({ value }) => value === resource)?.operations.find(({ value }) => value === operation);
        if (found === undefined)
          throw new NodeOperationError(this.getNode(), `Runpurse has no operation ${String(operation)} of ${String(resource)}`, {
            itemIndex: index,
          });
        const json = await perform(found, itemOf(this, settings, index, found));
        output.push({ json, pairedItem: { item: index } });
      } catch (error) {
        const failure = new NodeOperationError(this.getNode(), error as Error, { itemIndex: index });
        if (!this.continueOnFail()) throw failure;
        // By `error` n8n knows where the item is to go on.
        output.push({ json: { error: failure.message }, error: failure, pairedItem: { item: index } });
      }
    }
    return [output];
  }
}
