import { HEADER_VALUE_BYTES_MAX, parseUsd, redactText } from '@runpurse/core';
import { NodeOperationError, type IExecuteFunctions, type INode, type INodeProperties, type ISupplyDataFunctions } from 'n8n-workflow';
import { isObject, jsonOf } from './transport.ts';

/**
 * What a user filled in, read strictly. An expression may give anything, and what can't be read must not count as nothing
 * said: a cap would be no cap, and the ID of one customer that of everybody.
 */

/** Fields of a node for one of its items: as they are declared, as the user wrote them, and what that comes to. */
export interface Fields {
  readonly node: INode;
  /** Undefined where there are no items. */
  readonly itemIndex: number | undefined;
  readonly declared: readonly INodeProperties[];
  readonly written: Readonly<Record<string, unknown>>;
  /** Label of the collection they stand in. */
  readonly within?: string;
  read(name: string): unknown;
}

export interface Field {
  readonly of: Fields;
  readonly declared: INodeProperties;
  readonly value: unknown;
  readonly isExpression: boolean;
}

export function fieldsOfItem(
  context: IExecuteFunctions | ISupplyDataFunctions,
  itemIndex: number,
  declared: readonly INodeProperties[],
): Fields {
  const node = context.getNode();
  return { node, itemIndex, declared, written: node.parameters, read: (name) => context.getNodeParameter(name, itemIndex, '') };
}

export function fieldOf(of: Fields, name: string): Field {
  const declared = of.declared.find((property) => property.name === name);
  if (declared === undefined) throw new Error(`${of.node.type} has no field ${name}`);
  const written = of.written[name];
  return { of, declared, value: of.read(name), isExpression: typeof written === 'string' && written.startsWith('=') };
}

/** The fields of a collection; those that the user did not add are left empty. */
export function collectionOf(of: Fields, name: string): Fields {
  const field = fieldOf(of, name);
  const value = isLeftEmpty(field) ? {} : field.value;
  if (!isObject(value)) throw unusable(field, 'add its fields one by one');
  const written = of.written[name];
  return {
    ...of,
    declared: (field.declared.options ?? []) as INodeProperties[],
    written: isObject(written) ? written : {},
    within: field.declared.displayName,
    read: (member) => value[member],
  };
}

/** Free text, '' when there is none; numbers are read as they are written. */
export function textIn(field: Field): string {
  const { value } = field;
  if (value === undefined || value === null) return '';
  if (typeof value === 'string') return value.trim();
  if (typeof value === 'number' && Number.isFinite(value)) return plainNumber(value);
  throw unusable(field, 'give text');
}

/** An ID or name that something is found by, '' when the field is left empty. */
export function idIn(field: Field): string {
  return isLeftEmpty(field) ? '' : requiredIn(field, 'give an ID, or leave the field empty');
}

/** The same where there must be one. */
export function requiredIn(field: Field, need = 'fill it in'): string {
  const text = textIn(field);
  if (text === '') throw unusable(field, need);
  // Two IDs that a number can't tell apart would be one.
  if (typeof field.value === 'number' && !isExact(field.value))
    throw unusable(field, 'a number of so many digits is not exact: give it as text');
  // A header that is longer, or of several lines, would be left out on its way; an object in a text is the same for everybody.
  if (text.includes(OBJECT_IN_TEXT) || /[\p{Cc}\p{Cs}]/u.test(text) || Buffer.byteLength(text) > HEADER_VALUE_BYTES_MAX)
    throw unusable(field, `give one line of at most ${HEADER_VALUE_BYTES_MAX} bytes, without an object in it`);
  return text;
}

/** What n8n makes of an object inside a text. */
export const OBJECT_IN_TEXT = '[object Object]';

/** A dollar amount as the gateway reads it, or undefined when the field is left empty. */
export function amountIn(field: Field): string | undefined {
  if (isLeftEmpty(field)) return undefined;
  const need = 'give dollars such as 0.50, with at most 9 decimals, or leave the field empty';
  const { value } = field;
  if (typeof value !== 'string' && !(typeof value === 'number' && Number.isFinite(value))) throw unusable(field, need);
  const text = textIn(field).replace(/^\$\s*/, '');
  const nanos = parseUsd(text);
  if (nanos === undefined || nanos < 0n || (nanos === 0n && Number(value) > 0)) throw unusable(field, need);
  return text;
}

/** A number within the bounds the field declares, or undefined when it is left empty. */
export function numberIn(field: Field): number | undefined {
  if (isLeftEmpty(field)) return undefined;
  const { minValue = -Infinity, maxValue = Infinity, numberPrecision } = field.declared.typeOptions ?? {};
  const isWhole = numberPrecision === 0;
  const number = typeof field.value === 'string' && field.value.trim() !== '' ? Number(field.value) : field.value;
  if (typeof number === 'number' && number >= minValue && number <= maxValue && (isWhole ? Number.isSafeInteger(number) : isFinite(number)))
    return number;
  const from = minValue === -Infinity ? '' : ` from ${minValue}`;
  const to = maxValue === Infinity ? '' : ` to ${maxValue}`;
  throw unusable(field, `give a ${isWhole ? 'whole ' : ''}number${from}${to}${from !== '' && to === '' ? ' on' : ''}`);
}

/** One of the field's choices, or undefined when it is left empty. */
export function choiceIn(field: Field): string | undefined {
  if (isLeftEmpty(field)) return undefined;
  const choices = choicesOf(field);
  const found = choices.find((choice) => choice === field.value);
  if (found === undefined) throw unusable(field, `give one of ${choices.join(', ')}`);
  return found;
}

/** Several of the field's choices, at least one. */
export function choicesIn(field: Field): readonly string[] {
  const choices = choicesOf(field);
  const { value } = field;
  if (Array.isArray(value) && value.length > 0 && value.every((one) => choices.includes(one as string))) return value as string[];
  throw unusable(field, `give a list of ${choices.join(', ')}`);
}

export function booleanIn(field: Field): boolean | undefined {
  if (isLeftEmpty(field)) return undefined;
  if (typeof field.value !== 'boolean') throw unusable(field, 'give true or false');
  return field.value;
}

/** Texts separated by commas, or a list of texts from an expression. */
export function listIn(field: Field, comma: string | RegExp = ','): readonly string[] {
  if (isLeftEmpty(field)) return [];
  const { value } = field;
  const parts: readonly unknown[] = Array.isArray(value) ? value : typeof value === 'string' ? value.split(comma) : [];
  const texts = parts.flatMap((part) => (typeof part === 'string' && part.trim() !== '' ? [part.trim()] : []));
  if (texts.length === 0 || (Array.isArray(value) && texts.length < parts.length))
    throw unusable(field, 'give texts separated by commas, or a list of texts');
  return texts;
}

/** A JSON field as data, from text or from an expression; undefined when it is left empty. */
export function jsonIn(field: Field, kind: 'list'): readonly unknown[] | undefined;
export function jsonIn(field: Field, kind: 'object'): Readonly<Record<string, unknown>> | undefined;
export function jsonIn(field: Field, kind: 'list' | 'object'): unknown {
  if (isLeftEmpty(field)) return undefined;
  const { value } = field;
  const data = typeof value === 'string' ? jsonOf(value) : value;
  if (kind === 'list' ? Array.isArray(data) : isObject(data)) return data;
  const isNoJson = data === undefined && typeof value === 'string' && value.trim() !== '';
  throw unusable(field, kind === 'list' ? 'give a JSON list' : 'give a JSON object', isNoJson ? 'no JSON' : kindOf(data));
}

/** The error that names the field as the user sees it, its item, what is wrong, and what to do. */
export function unusable({ of, declared, value, isExpression }: Field, need: string, what = shown(value)): NodeOperationError {
  const field = of.within === undefined ? declared.displayName : `${declared.displayName} under ${of.within}`;
  const { node, itemIndex } = of;
  return new NodeOperationError(node, `${field} is ${what}${itemIndex === undefined ? '' : ` in item ${itemIndex}`}: ${need}.`, {
    ...(itemIndex !== undefined && { itemIndex }),
    ...(isExpression && { description: 'Look at what its expression gives.' }),
  });
}

/** An expression is never empty: whoever wrote one wanted a value. */
export function isLeftEmpty({ value, isExpression }: Field): boolean {
  return !isExpression && (value === undefined || (typeof value === 'string' && value.trim() === ''));
}

function choicesOf({ declared }: Field): readonly string[] {
  return (declared.options ?? []).flatMap((option) => ('value' in option ? [String(option.value)] : []));
}

function shown(value: unknown): string {
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  return typeof value === 'string' && value.trim() !== '' ? JSON.stringify(redactText(value).slice(0, 60)) : kindOf(value);
}

/** What something is, without what stands in it. */
function kindOf(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  if (isObject(value)) return 'an object';
  return value === undefined || value === null || typeof value === 'string' ? 'empty' : `a ${typeof value}`;
}

function isExact(value: number): boolean {
  return Number.isInteger(value) ? Number.isSafeInteger(value) : Number(plainNumber(value)) === value;
}

/** Numbers from expressions: without exponent and float noise. */
function plainNumber(value: number): string {
  return value.toFixed(9).replace(/\.?0+$/, '');
}
