import type { INodeProperties } from 'n8n-workflow';

/** Options that are fields of the request, by their names there. */
export const FIELDS = {
  maxTokens: 'max_tokens',
  temperature: 'temperature',
  topP: 'top_p',
  frequencyPenalty: 'frequency_penalty',
  presencePenalty: 'presence_penalty',
  reasoningEffort: 'reasoning_effort',
} as const;

export const chatModelProperties: INodeProperties[] = [
  {
    displayName: 'Connect this to an AI Agent or a chain. Each of its calls is put on the run of the execution.',
    name: 'notice',
    type: 'notice',
    default: '',
    typeOptions: { containerClass: 'ndv-connection-hint-notice' },
  },
  {
    displayName: 'Model Name or ID',
    name: 'model',
    type: 'options',
    typeOptions: { loadOptionsMethod: 'getModels' },
    required: true,
    default: '',
    description: 'Choose from the list, or specify an ID using an <a href="https://docs.n8n.io/code/expressions/">expression</a>',
  },
  {
    displayName: 'Options',
    name: 'options',
    type: 'collection',
    placeholder: 'Add Option',
    default: {},
    options: [
      {
        displayName: 'Ask Before Tools',
        name: 'gatesTools',
        type: 'boolean',
        default: true,
        description:
          'Whether each tool the model wants is put to the gateway first. A denied one does not run, the model is told; an allowed one is charged to the run.',
      },
      { displayName: 'Extra Body', name: 'extraBody', type: 'json', default: '{}', description: 'Further fields of the request' },
      {
        displayName: 'Frequency Penalty',
        name: 'frequencyPenalty',
        type: 'number',
        typeOptions: { minValue: -2, maxValue: 2, numberPrecision: 1 },
        default: 0,
      },
      {
        displayName: 'Max Retries',
        name: 'maxRetries',
        type: 'number',
        default: 2,
        description: 'How often a call is tried again when its provider failed. A refusal never is.',
      },
      {
        displayName: 'Maximum Number of Tokens',
        name: 'maxTokens',
        type: 'number',
        default: 1024,
        description: 'Bounds each answer, and with it what the gateway must hold for the call',
      },
      {
        displayName: 'Presence Penalty',
        name: 'presencePenalty',
        type: 'number',
        typeOptions: { minValue: -2, maxValue: 2, numberPrecision: 1 },
        default: 0,
      },
      {
        displayName: 'Reasoning Effort',
        name: 'reasoningEffort',
        type: 'options',
        options: [
          { name: 'High', value: 'high' },
          { name: 'Low', value: 'low' },
          { name: 'Medium', value: 'medium' },
        ],
        default: 'medium',
      },
      {
        displayName: 'Response Format',
        name: 'responseFormat',
        type: 'options',
        options: [
          { name: 'JSON', value: 'json_object' },
          { name: 'Text', value: 'text' },
        ],
        default: 'text',
      },
      {
        displayName: 'Sampling Temperature',
        name: 'temperature',
        type: 'number',
        typeOptions: { minValue: 0, maxValue: 2, numberPrecision: 1 },
        default: 1,
      },
      { displayName: 'Timeout (Seconds)', name: 'timeoutSeconds', type: 'number', default: 300 },
      { displayName: 'Top P', name: 'topP', type: 'number', typeOptions: { minValue: 0, maxValue: 1, numberPrecision: 2 }, default: 1 },
    ],
  },
];
