import type { INodeProperties } from 'n8n-workflow';
import { extraBodyField, maxTokensField, modelField, temperatureField, timeoutField, topPField } from '../../../shared/model-fields.ts';

/** The fields of a completion. */
export const completeProperties: readonly INodeProperties[] = [
  modelField,
  {
    displayName: 'Input',
    name: 'inputMode',
    type: 'options',
    options: [
      { name: 'Prompt', value: 'prompt', description: 'A text, with images if you like' },
      { name: 'Messages', value: 'messages', description: 'A whole conversation as JSON, tool calls and their results too' },
    ],
    default: 'prompt',
  },
  {
    displayName: 'Prompt',
    name: 'prompt',
    type: 'string',
    typeOptions: { rows: 4 },
    displayOptions: { show: { inputMode: ['prompt'] } },
    default: '',
  },
  {
    displayName: 'System',
    name: 'system',
    type: 'string',
    typeOptions: { rows: 2 },
    displayOptions: { show: { inputMode: ['prompt'] } },
    default: '',
    description: 'How the model is to behave',
  },
  {
    displayName: 'Images',
    name: 'images',
    type: 'collection',
    placeholder: 'Add Images',
    displayOptions: { show: { inputMode: ['prompt'] } },
    default: {},
    options: [
      {
        displayName: 'Binary Fields',
        name: 'binaryFields',
        type: 'string',
        default: '',
        placeholder: 'data',
        description: 'Names of binary fields of the item, separated by commas',
      },
      {
        displayName: 'Detail',
        name: 'detail',
        type: 'options',
        options: [
          { name: 'Auto', value: 'auto' },
          { name: 'High', value: 'high' },
          { name: 'Low', value: 'low' },
        ],
        default: 'auto',
      },
      { displayName: 'URLs', name: 'urls', type: 'string', default: '', description: 'Addresses of images, separated by commas' },
    ],
  },
  {
    displayName: 'Messages',
    name: 'messages',
    type: 'json',
    displayOptions: { show: { inputMode: ['messages'] } },
    default: '[{"role": "user", "content": "Hello"}]',
    description: "As in OpenAI's chat completions: content may be text, a list of parts, or null beside tool_calls",
  },
  {
    displayName: 'Tools',
    name: 'tools',
    type: 'json',
    default: '[]',
    description: "Functions the model may ask for, as in OpenAI's chat completions; what it asks for comes out as toolCalls",
  },
  {
    displayName: 'Answer As',
    name: 'responseFormat',
    type: 'options',
    options: [
      { name: 'JSON', value: 'json_object' },
      { name: 'JSON of a Schema', value: 'json_schema' },
      { name: 'Text', value: 'text' },
    ],
    default: 'text',
  },
  {
    displayName: 'JSON Schema',
    name: 'jsonSchema',
    type: 'json',
    displayOptions: { show: { responseFormat: ['json_schema'] } },
    default: '{"type": "object", "properties": {}, "additionalProperties": false}',
  },
  {
    displayName: 'Options',
    name: 'options',
    type: 'collection',
    placeholder: 'Add Option',
    default: {},
    options: [
      extraBodyField,
      maxTokensField,
      temperatureField,
      { displayName: 'Seed', name: 'seed', type: 'number', typeOptions: { numberPrecision: 0 }, default: 0 },
      timeoutField,
      topPField,
    ],
  },
];
