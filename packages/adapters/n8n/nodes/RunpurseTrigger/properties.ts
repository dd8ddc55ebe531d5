import type { INodeProperties } from 'n8n-workflow';

export const triggerProperties: INodeProperties[] = [
  {
    displayName: 'Events',
    name: 'events',
    type: 'multiOptions',
    required: true,
    options: [
      {
        name: 'Budget Threshold Crossed',
        value: 'budget.threshold',
        description: 'A budget reached one of its thresholds, such as 80%',
      },
      { name: 'Call Refused', value: 'call.refused', description: 'A model call or a tool was refused by a cap or a policy' },
      { name: 'Run Ended', value: 'run.ended', description: 'A run completed, failed or was stopped; with its cost and margin' },
    ],
    default: ['run.ended'],
  },
  {
    displayName: 'Workflow Name or ID',
    name: 'workflow',
    type: 'options',
    typeOptions: { loadOptionsMethod: 'getWorkflows' },
    default: '',
    description:
      'Only of this workflow; leave empty for all. Set it where a Workflow ID behind this trigger is an expression, or where what it calls calls further workflows: this workflow would start itself. Choose from the list, or specify an ID using an <a href="https://docs.n8n.io/code/expressions/">expression</a>.',
  },
  {
    displayName: 'Agent Name or ID',
    name: 'agent',
    type: 'options',
    typeOptions: { loadOptionsMethod: 'getAgents' },
    default: '',
    description:
      'Only of this agent; leave empty for all. Choose from the list, or specify an ID using an <a href="https://docs.n8n.io/code/expressions/">expression</a>.',
  },
  {
    displayName: 'The gateway must reach this n8n: its address is WEBHOOK_URL, and one inside a network must be allowed in runpurse.yaml.',
    name: 'reachNotice',
    type: 'notice',
    default: '',
  },
];
