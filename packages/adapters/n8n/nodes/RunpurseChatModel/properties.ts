import type { INodeProperties } from 'n8n-workflow';
import { choiceIn, numberIn } from '../shared/fields.ts';
import { extraBodyField, maxTokensField, modelField, temperatureField, timeoutField, topPField } from '../shared/model-fields.ts';

/** Options that are fields of the request, by their names there and how they are read. */
export const FIELDS = {
  maxTokens: { field: 'max_tokens', read: numberIn },
  temperature: { field: 'temperature', read: numberIn },
  topP: { field: 'top_p', read: numberIn },
  frequencyPenalty: { field: 'frequency_penalty', read: numberIn },
  presencePenalty: { field: 'presence_penalty', read: numberIn },
  reasoningEffort: { field: 'reasoning_effort', read: choiceIn },
} as const;

export const chatModelProperties: INodeProperties[] = [
  {
    displayName: 'Connect this to an AI Agent or a chain. Each of its calls is put on the run of the execution.',
    name: 'notice',
    type: 'notice',
    default: '',
    typeOptions: { containerClass: 'ndv-connection-hint-notice' },
  },
  modelField,
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
      extraBodyField,
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
        typeOptions: { minValue: 0, numberPrecision: 0 },
        default: 2,
        description: 'How often a call is tried again when its provider failed. A refusal never is.',
      },
      maxTokensField,
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
      temperatureField,
      timeoutField,
      topPField,
    ],
  },
];
