import { redactText } from '@runpurse/core';
import { NodeOperationError, type IDataObject, type IExecuteFunctions, type INodeProperties } from 'n8n-workflow';
import { attribution, placeOf, type Place } from '../../shared/attribution.ts';
import { amountIn, choiceIn, collectionOf, fieldOf, fieldsOfItem, idIn, requiredIn, textIn, type Fields } from '../../shared/fields.ts';
import { awayError, cancelledError, GatewayAwayError, oddReplyError, refusalIn, refusedError } from '../../shared/refusal.ts';
import { isObject, send, type GatewayReply, type GatewayRequest, type Settings } from '../../shared/transport.ts';

/** What the gateway takes. */
const REASON_MAX = 1_000;

/** One item of one operation: the parameters, where it stands, and the way to the gateway. */
export interface Item {
  readonly context: IExecuteFunctions;
  readonly index: number;
  readonly settings: Settings;
  readonly fields: Fields;
  readonly place: Place;
}

/** What a resource can do. */
export interface Operation {
  readonly value: string;
  readonly name: string;
  readonly action: string;
  readonly description: string;
  /** Shown for this operation alone. */
  readonly properties: readonly INodeProperties[];
  /** What it puts out for the item. Throws a NodeOperationError that a person understands. */
  execute(item: Item): Promise<IDataObject>;
  /** What it puts out when the gateway is away and the credential says to go on. One whose output only the gateway knows fails. */
  withoutGateway?(item: Item): IDataObject;
}

export interface Resource {
  readonly value: string;
  readonly name: string;
  readonly operations: readonly Operation[];
}

/** The node's fields of a resource: its operations, and each one's own, with Attribution last. */
export function propertiesOf(resource: Resource): INodeProperties[] {
  const first = resource.operations[0]?.value ?? '';
  const operations: INodeProperties = {
    displayName: 'Operation',
    name: 'operation',
    type: 'options',
    noDataExpression: true,
    displayOptions: { show: { resource: [resource.value] } },
    options: resource.operations.map(({ value, name, action, description }) => ({ value, name, action, description })),
    default: first,
  };
  return [
    operations,
    ...resource.operations.flatMap((operation) =>
      [...operation.properties, attribution].map((property) => ({
        ...property,
        displayOptions: {
          ...property.displayOptions,
          show: { ...property.displayOptions?.show, resource: [resource.value], operation: [operation.value] },
        },
      })),
    ),
  ];
}

export function itemOf(context: IExecuteFunctions, settings: Settings, index: number, { properties }: Operation): Item {
  const runIndex = Number(context.evaluateExpression('{{ $runIndex }}', index) ?? 0);
  const place = placeOf(context, settings.instance, index, Number.isInteger(runIndex) ? runIndex : 0);
  return { context, index, settings, fields: fieldsOfItem(context, index, properties), place };
}

/** What came out otherwise than the item said; shown in the editor too, since the output alone is easily passed over. */
export function warned(item: Item, warnings: readonly string[]): IDataObject {
  for (const message of warnings) item.context.addExecutionHints({ message, type: 'warning', location: 'outputPane' });
  return warnings.length === 0 ? {} : { warnings: [...warnings] };
}

/** Executes the operation; with the gateway away it is what the credential says for that case, and never quietly. */
export async function perform(operation: Operation, item: Item): Promise<IDataObject> {
  try {
    return await operation.execute(item);
  } catch (error) {
    if (!(error instanceof GatewayAwayError) || item.settings.failurePolicy === 'closed' || operation.withoutGateway === undefined)
      throw new NodeOperationError(item.context.getNode(), error as Error, { itemIndex: item.index });
    const output = operation.withoutGateway(item);
    const reason = `Nobody checked or recorded this: ${error.message}. The credential says to go on when the gateway is away.`;
    item.context.addExecutionHints({ message: reason, type: 'warning', location: 'outputPane' });
    return { ...output, unchecked: true, reason };
  }
}

/** Statuses by which the gateway, or what stands before it, says that it can do nothing now. */
const AWAY: ReadonlySet<number> = new Set([502, 503, 504]);

/** Asks the gateway and hands out its reply, refusals too; throws only when it gave no answer. */
export async function ask(item: Item, request: GatewayRequest): Promise<GatewayReply> {
  const reply = await reach(item, request);
  if (!AWAY.has(reply.status)) return reply;
  const cause = `It answered ${reply.status}: ${refusalIn(reply)?.message ?? 'nothing of Runpurse'}`;
  throw awayError(item.context.getNode(), item.settings.baseUrl, cause, item.index);
}

/** The same for a model call, whose provider has such statuses too: each is an answer. */
export async function reach(item: Item, request: GatewayRequest): Promise<GatewayReply> {
  try {
    return await send(item.context, item.settings.baseUrl, request);
  } catch (error) {
    if (item.context.getExecutionCancelSignal()?.aborted === true) throw cancelledError(item.context.getNode(), item.index);
    throw awayError(item.context.getNode(), item.settings.baseUrl, error, item.index);
  }
}

/** The reply's object, or the error that says why there is none. */
export function accepted(item: Item, reply: GatewayReply): IDataObject {
  const refusal = refusalIn(reply);
  if (refusal !== undefined) throw refusedError(item.context.getNode(), refusal, item.index);
  if (reply.status < 200 || reply.status > 299 || !isObject(reply.body)) throw oddReplyError(item.context.getNode(), reply, item.index);
  return reply.body as IDataObject;
}

export async function askAccepted(item: Item, request: GatewayRequest): Promise<IDataObject> {
  return accepted(item, await ask(item, request));
}

export const text = (item: Item, name: string): string => textIn(fieldOf(item.fields, name));
export const id = (item: Item, name: string): string => idIn(fieldOf(item.fields, name));
export const required = (item: Item, name: string, need?: string): string => requiredIn(fieldOf(item.fields, name), need);
/** What a node before put out, '' where it put out none. */
export const handedOn = (item: Item, name: string): string => (text(item, name) === '' ? '' : required(item, name));
export const amount = (item: Item, name: string): string | undefined => amountIn(fieldOf(item.fields, name));
export const choice = (item: Item, name: string): string | undefined => choiceIn(fieldOf(item.fields, name));
export const collection = (item: Item, name: string): Fields => collectionOf(item.fields, name);

/** Why a run ended or was stopped, without the secrets that an error's text may hold. */
export function reasonOf(item: Item): string {
  return redactText(text(item, 'reason')).slice(0, REASON_MAX);
}

/** Without the fields that are left empty. */
export function stated(fields: Readonly<Record<string, unknown>>): IDataObject {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined && value !== '')) as IDataObject;
}

export function runOf(item: Item): string {
  return requireId(item, item.place.runId, 'run', 'Run ID');
}

/** The id, or the error that says where to state it. */
export function requireId(item: Item, id: string | undefined, what: string, field: string): string {
  if (id !== undefined) return id;
  throw new NodeOperationError(item.context.getNode(), `Which ${what}? This execution says none: state ${field} under Attribution.`, {
    itemIndex: item.index,
  });
}
