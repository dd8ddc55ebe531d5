import { NodeOperationError, type IDataObject } from 'n8n-workflow';
import { headersOf } from '../../../shared/attribution.ts';
import { fieldOf, jsonIn, numberIn, unusable } from '../../../shared/fields.ts';
import { textOf, type GatewayReply } from '../../../shared/transport.ts';
import { accepted, choice, collection, reach, required, stated, type Item, type Operation } from '../operation.ts';
import { completeProperties } from './complete-properties.ts';
import { messagesOf } from './messages.ts';

const TIMEOUT_S = 300;

export const complete: Operation = {
  value: 'complete',
  name: 'Complete',
  action: 'Complete a chat',
  description: 'A model call through the gateway: capped, priced and put on this run. The output says what it cost and what remains.',
  properties: completeProperties,
  async execute(item) {
    const options = collection(item, 'options');
    const number = (name: string) => numberIn(fieldOf(options, name));
    const format = choice(item, 'responseFormat') ?? 'text';
    const body = {
      ...jsonIn(fieldOf(options, 'extraBody'), 'object'),
      ...stated({
        model: required(item, 'model'),
        max_tokens: number('maxTokens'),
        temperature: number('temperature'),
        top_p: number('topP'),
        seed: number('seed'),
      }),
      messages: await messagesOf(item),
      ...toolsOf(item),
      ...(format === 'json_object' && { response_format: { type: 'json_object' } }),
      ...(format === 'json_schema' && {
        response_format: {
          type: 'json_schema',
          json_schema: { name: 'answer', strict: true, schema: schemaOf(item) },
        },
      }),
      stream: false,
    };
    const reply = await reach(item, {
      method: 'POST',
      path: '/v1/chat/completions',
      headers: headersOf({ ...item.place, stepKind: 'llm_call' }),
      body,
      timeoutMs: (number('timeoutSeconds') ?? TIMEOUT_S) * 1000,
    });
    return outputOf(item, reply, format !== 'text');
  },
};

function toolsOf(item: Item): object {
  const tools = jsonIn(fieldOf(item.fields, 'tools'), 'list') ?? [];
  return tools.length === 0 ? {} : { tools };
}

function schemaOf(item: Item): object {
  const field = fieldOf(item.fields, 'jsonSchema');
  const schema = jsonIn(field, 'object');
  if (schema === undefined) throw unusable(field, 'give a JSON schema');
  return schema;
}

/** What the model said, and what the gateway knows of it from the reply's headers. Unknown is null, never 0. */
function outputOf(item: Item, reply: GatewayReply, wantsJson: boolean): IDataObject {
  const completion = accepted(item, reply);
  const [choice] = Array.isArray(completion['choices']) ? (completion['choices'] as IDataObject[]) : [];
  const message = (choice?.['message'] ?? {}) as IDataObject;
  const content = textOf(message['content']);
  const known = (name: string): string | null => reply.headers[`x-runpurse-${name}`] ?? null;
  return {
    text: content,
    ...(wantsJson && { json: answerIn(item, content, choice?.['finish_reason']) }),
    toolCalls: message['tool_calls'] ?? [],
    message,
    finishReason: choice?.['finish_reason'] ?? null,
    model: completion['model'] ?? null,
    usage: completion['usage'] ?? null,
    costUsd: known('request-cost-usd'),
    runCostUsd: known('run-cost-usd'),
    runRemainingUsd: known('run-remaining-usd'),
    sessionRemainingUsd: known('session-remaining-usd'),
    budgetState: known('budget-state'),
    runId: known('run-id') ?? item.place.runId ?? null,
    requestId: known('request-id'),
  };
}

/** The call is paid by now, so an answer that is no JSON is told as such, with the answer. */
function answerIn(item: Item, content: string, finish: unknown): IDataObject {
  try {
    return JSON.parse(content) as IDataObject;
  } catch {
    throw new NodeOperationError(item.context.getNode(), 'The model did not answer in JSON', {
      itemIndex: item.index,
      description:
        finish === 'length' ? 'Its answer was cut off: raise Maximum Number of Tokens.' : `It answered: ${content.slice(0, 300)}`,
    });
  }
}
