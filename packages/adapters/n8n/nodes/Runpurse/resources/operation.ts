import { redactText } from '@runpurse/core';
import { NodeOperationError, type IDataObject, type IExecuteFunctions, type INodeProperties } from 'n8n-workflow';
import { attribution, placeOf, type Place } from '../../shared/attribution.ts';
import { awayError, GatewayAwayError, oddReplyError, refusalIn, refusedError } from '../../shared/refusal.ts';
import { isObject, send, textOf, type GatewayReply, type GatewayRequest, type Settings } from '../../shared/transport.ts';

/** What the gateway takes. */
const REASON_MAX = 1_000;

/** One item of one operation: the parameters, where it stands, and the way to the gateway. */
export interface Item {
  readonly context: IExecuteFunctions;
  readonly index: number;
  readonly settings: Settings;
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

export function itemOf(context: IExecuteFunctions, settings: Settings, index: number): Item {
  const runIndex = Number(context.evaluateExpression('{{ $runIndex }}', index) ?? 0);
  return { context, index, settings, place: placeOf(context, settings.instance, index, Number.isInteger(runIndex) ? runIndex : 0) };
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

/** A parameter as text; numbers from expressions are read as they are written. */
export function text(item: Item, name: string): string {
  const value = item.context.getNodeParameter(name, item.index, '') as unknown;
  return typeof value === 'number' ? plainNumber(value) : textOf(value).trim();
}

/** A collection of options as the user filled it. */
export function collection(item: Item, name: string): IDataObject {
  const value: unknown = item.context.getNodeParameter(name, item.index, {});
  return isObject(value) ? (value as IDataObject) : {};
}

/** Why a run ended or was stopped, without the secrets that an error's text may hold. */
export function reasonOf(item: Item): string {
  return redactText(text(item, 'reason')).slice(0, REASON_MAX);
}

/** A dollar amount as the gateway reads it, or undefined when left empty. An expression that gives none must not count as empty: a cap would be no cap. */
export function amount(item: Item, name: string): string | undefined {
  const value = item.context.getNodeParameter(name, item.index, '') as unknown;
  const isAmount = typeof value === 'string' || (typeof value === 'number' && Number.isFinite(value));
  if (!isAmount && !(value === undefined && !isExpression(item, name)))
    throw unusable(item, `The amount in ${name} is ${typeof value === 'number' ? String(value) : JSON.stringify(value)}`);
  const said = text(item, name).replace(/^\$\s*/, '');
  if (said === '' && isExpression(item, name) && value !== '') throw unusable(item, `The amount in ${name} is blank`);
  return said === '' ? undefined : said;
}

function isExpression(item: Item, name: string): boolean {
  const raw = item.context.getNode().parameters[name];
  return typeof raw === 'string' && raw.startsWith('=');
}

function unusable(item: Item, what: string): Error {
  const message = `${what}: give dollars such as 0.50, or leave the field empty. Look at what its expression gives for this item.`;
  return refusedError(item.context.getNode(), { code: 'invalid_request', message }, item.index);
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
  const error = refusedError(
    item.context.getNode(),
    { code: 'invalid_request', message: `Which ${what}? This execution says none: state ${field} under Attribution.` },
    item.index,
  );
  throw error;
}

/** Amounts from expressions come as numbers: without exponent and float noise. */
function plainNumber(value: number): string {
  return Number.isFinite(value) ? value.toFixed(9).replace(/\.?0+$/, '') : '';
}
