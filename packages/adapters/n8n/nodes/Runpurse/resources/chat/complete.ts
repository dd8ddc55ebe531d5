import { NodeOperationError, type IDataObject } from 'n8n-workflow';
import { isObject, textOf, type GatewayReply } from '../../../shared/transport.ts';
import { headersOf } from '../../../shared/attribution.ts';
import { jsonIn, jsonParameter } from '../json.ts';
import { accepted, collection, reach, stated, text, type Item, type Operation } from '../operation.ts';
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
    const format = text(item, 'responseFormat');
    const body = {
      ...(jsonIn(item, options['extraBody'], 'Extra Body', isObject) as object | undefined),
      ...stated({
        model: text(item, 'model'),
        max_tokens: options['maxTokens'],
        temperature: options['temperature'],
        top_p: options['topP'],
        seed: options['seed'],
      }),
      messages: await messagesOf(item),
      ...toolsOf(item),
      ...(format === 'json_object' && { response_format: { type: 'json_object' } }),
      ...(format === 'json_schema' && {
        response_format: {
          type: 'json_schema',
          json_schema: { name: 'answer', strict: true, schema: jsonParameter(item, 'jsonSchema', 'JSON Schema', isObject) },
        },
      }),
      stream: false,
    };
    const reply = await reach(item, {
      method: 'POST',
      path: '/v1/chat/completions',
      headers: headersOf({ ...item.place, stepKind: 'llm_call' }),
      body,
      timeoutMs: Number(options['timeoutSeconds'] ?? TIMEOUT_S) * 1000,
    });
    return outputOf(item, reply, format !== 'text');
  },
};

function toolsOf(item: Item): object {
  const tools = (jsonParameter(item, 'tools', 'Tools', Array.isArray) ?? []) as readonly unknown[];
  return tools.length === 0 ? {} : { tools };
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
