import type { ZObject } from 'zapier-platform-core';
import { parseUsd } from '@runpurse/core';
import { textOf } from './translate.ts';

/** What a user filled in or mapped, read strictly: a cap or a run that can't be read must not count as none. */

type Inputs = Readonly<Record<string, unknown>>;

export function invalid(z: ZObject, message: string): Error {
  return new z.errors.Error(message, 'invalid_input', 400);
}

/** A field that must not be empty: one that is mapped to an empty value of an earlier step arrives so. */
export function required(z: ZObject, input: Inputs, name: string, label: string): string {
  const text = textOf(input, name);
  if (text === undefined) throw invalid(z, `${label} is empty. Fill it in, or map it to a field of an earlier step that has a value.`);
  return text;
}

/** One of a field's choices; the first where it is empty. A mapped value may be any text, and one that is none of them must not count as one. */
export function choice<Value extends string>(
  z: ZObject,
  input: Inputs,
  name: string,
  label: string,
  values: readonly [Value, ...Value[]],
): Value {
  const text = textOf(input, name);
  const found = text === undefined ? values[0] : values.find((value) => value === text.toLowerCase());
  if (found === undefined) throw invalid(z, `${label} must be ${values.join(' or ')}, not ${JSON.stringify(text)}.`);
  return found;
}

export function kindOf(z: ZObject, input: Inputs): 'tool' | 'model' {
  return choice(z, input, 'kind', 'Kind of Call', ['tool', 'model']);
}

/** A dollar amount as people write it (`$1,234.50`), as decimal text. */
export function amount(z: ZObject, input: Inputs, name: string, label: string): string | undefined {
  const value = input[name];
  const isOdd = (typeof value === 'object' && value !== null) || typeof value === 'boolean';
  const text = typeof value === 'number' ? decimal(value) : isOdd ? JSON.stringify(value) : textOf(input, name);
  if (text === undefined) return undefined;
  const plain = text.replace(/^\$\s*/, '').replace(/^([1-9]\d{0,2})((?:,\d{3})+)(?=\.|$)/, (whole) => whole.replaceAll(',', ''));
  const nanos = parseUsd(plain);
  if (nanos === undefined || nanos < 0n)
    throw invalid(z, `${label} must be an amount in dollars such as 0.50, not ${JSON.stringify(text)}.`);
  return plain;
}

/** A whole number above zero, or zero where that means something. */
export function count(z: ZObject, input: Inputs, name: string, label: string, least = 1): number | undefined {
  const text = textOf(input, name);
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < least)
    throw invalid(z, `${label} must be a whole number from ${least} on, not ${JSON.stringify(text)}.`);
  return value;
}

/** `1e-7` is a number to JavaScript and no amount to anybody else. */
function decimal(value: number): string {
  return Number.isFinite(value) ? value.toFixed(9).replace(/\.?0+$/, '') : String(value);
}
