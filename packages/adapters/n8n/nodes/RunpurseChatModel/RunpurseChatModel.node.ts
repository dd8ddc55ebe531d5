import { NodeConnectionTypes } from 'n8n-workflow';
import type { INodeType, INodeTypeDescription, ISupplyDataFunctions, SupplyData } from 'n8n-workflow';
import { supplyModel } from '@n8n/ai-node-sdk';
import { loadOptions } from '../Runpurse/methods/load-options.ts';
import { attribution } from '../shared/attribution.ts';
import { booleanIn, choiceIn, collectionOf, fieldOf, fieldsOfItem, jsonIn, numberIn, requiredIn } from '../shared/fields.ts';
import { awayError, cancelledError, oddReplyError, refusalIn, refusedError } from '../shared/refusal.ts';
import { CREDENTIAL, jsonOf, settingsOf, uncancelled, type Caller, type Settings } from '../shared/transport.ts';
import { GatewayChatModel, type PostedCall, type PostedReply } from './chat-model.ts';
import { callerOf } from './caller.ts';
import { keepingImages } from './images.ts';
import { leave, liveRunOf } from './live-run.ts';
import { onePlaceOf } from './one-place.ts';
import { tellingHooks } from './telling-hooks.ts';
import { refuseTextAgent } from './text-agents.ts';
import { chatModelProperties, FIELDS } from './properties.ts';

/** The model of n8n's own AI Agent, through the gateway. */
export class RunpurseChatModel implements INodeType {
  description: INodeTypeDescription = {
    displayName: 'Runpurse Chat Model',
    name: 'runpurseChatModel',
    icon: { light: 'file:../../icons/runpurse.svg', dark: 'file:../../icons/runpurse.dark.svg' },
    group: ['transform'],
    version: 1,
    subtitle: '={{ $parameter["model"] }}',
    description: 'Any model of your gateway for agents and chains: capped, priced and put on the run of this execution',
    defaults: { name: 'Runpurse Chat Model' },
    codex: {
      categories: ['AI'],
      subcategories: { AI: ['Language Models', 'Root Nodes'], 'Language Models': ['Chat Models (Recommended)'] },
      resources: {},
    },
    inputs: [],
    outputs: [NodeConnectionTypes.AiLanguageModel],
    outputNames: ['Model'],
    credentials: [{ name: 'runpurseApi', required: true }],
    properties: [...chatModelProperties, attribution],
  };

  methods = { loadOptions: { getModels: loadOptions.getModels } };

  async supplyData(this: ISupplyDataFunctions, itemIndex: number): Promise<SupplyData> {
    const settings = await settingsOf(this);
    const fields = fieldsOfItem(this, itemIndex, chatModelProperties);
    const options = collectionOf(fields, 'options');
    const option = (name: string) => fieldOf(options, name);
    const timeoutMs = (numberIn(option('timeoutSeconds')) ?? 300) * 1000;
    const said = onePlaceOf(this, settings.instance, itemIndex);
    const gatesTools = booleanIn(option('gatesTools')) ?? true;
    if (gatesTools) refuseTextAgent(this, itemIndex);
    const live = liveRunOf(this, settings, said);
    const place = { graphNode: said.graphNode, agentId: said.agentId, ...callerOf(this, live, itemIndex) };
    const model = new GatewayChatModel(requiredIn(fieldOf(fields, 'model')), {
      live,
      place,
      body: {
        ...jsonIn(option('extraBody'), 'object'),
        ...Object.fromEntries(
          Object.entries(FIELDS).flatMap(([name, { field, read }]) => {
            const value = read(option(name));
            return value === undefined ? [] : [[field, value]];
          }),
        ),
        ...(choiceIn(option('responseFormat')) === 'json_object' && { response_format: { type: 'json_object' } }),
      },
      maxRetries: numberIn(option('maxRetries')) ?? 2,
      gatesTools,
      signal: this.getExecutionCancelSignal?.(),
      post: (call) => post(this, settings, call, timeoutMs, itemIndex),
      errorOf: (reply) => {
        const refusal = refusalIn(reply);
        return refusal === undefined ? oddReplyError(this.getNode(), reply, itemIndex) : refusedError(this.getNode(), refusal, itemIndex);
      },
      unavailable: (decision) =>
        awayError(this.getNode(), settings.baseUrl, decision.type === 'unavailable' ? decision.error : '', itemIndex),
    });
    // The SDK is compiled against another n8n-workflow, and with looser types, than this package.
    const supplied = supplyModel(this as unknown as Parameters<typeof supplyModel>[0], model as Parameters<typeof supplyModel>[1]);
    return {
      response: tellingHooks(keepingImages(supplied.response), gatesTools),
      closeFunction: () => leave(live, this),
    };
  }
}

/** The model call itself. Sent once: whether it is tried again is decided by whoever counts the attempts. */
async function post(
  context: ISupplyDataFunctions,
  settings: Settings,
  { headers, body, isStreamed, signal }: PostedCall,
  timeout: number,
  itemIndex: number,
): Promise<PostedReply> {
  let reply;
  try {
    reply = (await context.helpers.httpRequestWithAuthentication.call(uncancelled(context as unknown as Caller), CREDENTIAL, {
      method: 'POST',
      url: `${settings.baseUrl}/v1/chat/completions`,
      headers: { ...headers, 'content-type': 'application/json', accept: isStreamed ? 'text/event-stream' : 'application/json' },
      body: JSON.stringify(body),
      encoding: isStreamed ? 'stream' : 'text',
      json: false,
      returnFullResponse: true,
      ignoreHttpStatusErrors: true,
      disableFollowRedirect: true,
      timeout,
      ...(signal && { abortSignal: signal }),
    })) as { readonly statusCode: number; readonly headers: Readonly<Record<string, unknown>>; readonly body: unknown };
  } catch (error) {
    if (signal?.aborted === true) throw cancelledError(context.getNode(), itemIndex);
    throw awayError(context.getNode(), settings.baseUrl, error, itemIndex);
  }
  const known = Object.fromEntries(Object.entries(reply.headers).map(([name, value]) => [name.toLowerCase(), String(value)]));
  if (isStreamed && reply.statusCode < 300) signal?.addEventListener('abort', () => (reply.body as Destroyable).destroy(), { once: true });
  if (isStreamed && reply.statusCode < 300)
    return {
      status: reply.statusCode,
      headers: known,
      body: undefined,
      text: '',
      stream: (reply.body as AsyncIterable<Buffer>)[Symbol.asyncIterator]() as AsyncIterableIterator<Buffer>,
    };
  const text = typeof reply.body === 'string' ? reply.body : await textOfStream(reply.body as AsyncIterable<Buffer>);
  return { status: reply.statusCode, headers: known, body: jsonOf(text), text };
}

/** Node's stream of a reply: nobody reads it any more, so the provider need not go on. */
interface Destroyable {
  destroy(): void;
}

async function textOfStream(stream: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}
