import type { INodeProperties } from 'n8n-workflow';

/** Fields of every call to a model, whichever node makes it. */

export const modelField: INodeProperties = {
  displayName: 'Model Name or ID',
  name: 'model',
  type: 'options',
  typeOptions: { loadOptionsMethod: 'getModels' },
  required: true,
  default: '',
  description: 'Choose from the list, or specify an ID using an <a href="https://docs.n8n.io/code/expressions/">expression</a>',
};

export const extraBodyField: INodeProperties = {
  displayName: 'Extra Body',
  name: 'extraBody',
  type: 'json',
  default: '{}',
  description: 'Further fields of the request, as the provider reads them',
};

export const maxTokensField: INodeProperties = {
  displayName: 'Maximum Number of Tokens',
  name: 'maxTokens',
  type: 'number',
  typeOptions: { minValue: 1, numberPrecision: 0 },
  default: 1024,
  description: 'Bounds each answer, and with it what the gateway must hold for the call',
};

export const temperatureField: INodeProperties = {
  displayName: 'Sampling Temperature',
  name: 'temperature',
  type: 'number',
  typeOptions: { minValue: 0, maxValue: 2, numberPrecision: 1 },
  default: 1,
};

export const timeoutField: INodeProperties = {
  displayName: 'Timeout (Seconds)',
  name: 'timeoutSeconds',
  type: 'number',
  typeOptions: { minValue: 1, maxValue: 86_400 },
  default: 300,
};

export const topPField: INodeProperties = {
  displayName: 'Top P',
  name: 'topP',
  type: 'number',
  typeOptions: { minValue: 0, maxValue: 1, numberPrecision: 2 },
  default: 1,
};
