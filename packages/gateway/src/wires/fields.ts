import type { Refusal } from '@runpurse/core';
import { asArray, asObject, asText } from './json.ts';
import type { JsonObject } from './wire.ts';

/**
 * The few request fields admission reads, checked as they are read. The first mistake is kept: `invalid` holds the
 * refusal to answer with. What is not read here is the provider's to check.
 */
export class FieldReader {
  readonly #body: JsonObject;
  #invalid: Refusal | undefined;

  constructor(body: JsonObject) {
    this.#body = body;
  }

  get invalid(): Refusal | undefined {
    return this.#invalid;
  }

  /** Notes a mistake found elsewhere. */
  refuse(param: string, message: string): void {
    this.#invalid ??= { code: 'invalid_request', message, param };
  }

  /** Required, not empty. */
  text(name: string): string {
    const value = this.#given(name);
    if (value === undefined) this.refuse(name, `Missing required parameter: '${name}'.`);
    else if (typeof value !== 'string') this.#mistyped(name, 'a string');
    else if (value.length === 0) this.refuse(name, `Invalid '${name}': empty string.`);
    else return value;
    return '';
  }

  /** A whole number of at least `min`; null and absence are undefined. */
  count(name: string, min = 1): number | undefined {
    const value = this.#given(name);
    if (value === undefined) return undefined;
    if (typeof value !== 'number' || !Number.isInteger(value)) this.#mistyped(name, 'an integer');
    else if (value < min || !Number.isSafeInteger(value))
      this.refuse(name, `Invalid '${name}': integer out of range; it must be at least ${min}, but got ${value}.`);
    else return value;
    return undefined;
  }

  flag(name: string): boolean {
    const value = this.#given(name);
    if (value === undefined) return false;
    if (typeof value !== 'boolean') this.#mistyped(name, 'a boolean');
    return value === true;
  }

  object(name: string): JsonObject | undefined {
    const value = this.#given(name);
    if (value === undefined) return undefined;
    if (typeof value === 'object' && !Array.isArray(value)) return value as JsonObject;
    this.#mistyped(name, 'an object');
    return undefined;
  }

  /** Absent and null read as empty. */
  list(name: string): readonly unknown[] {
    const value = this.#given(name);
    if (value === undefined) return [];
    if (Array.isArray(value)) return value as readonly unknown[];
    this.#mistyped(name, 'an array');
    return [];
  }

  #given(name: string): unknown {
    return this.#body[name] ?? undefined;
  }

  #mistyped(name: string, wanted: string): void {
    this.refuse(name, `Invalid type for '${name}': expected ${wanted}, but got ${typeName(this.#body[name])} instead.`);
  }
}

/**
 * The models that a list of stand-ins (`models`, `fallbacks`) names, as text or as objects with a `model`. One that can't
 * be read, such as `"default"` for the provider's own choice, is null. Undefined when the body has none.
 */
export function otherModels(...lists: readonly unknown[]): readonly (string | null)[] | undefined {
  let models: (string | null)[] | undefined;
  for (const list of lists) {
    if (list === undefined || list === null) continue;
    if (!Array.isArray(list)) (models ??= []).push(null);
    for (const item of asArray(list)) (models ??= []).push(asText(item) ?? asText(asObject(item)?.['model']) ?? null);
  }
  return models;
}

function typeName(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'number') return Number.isInteger(value) ? 'an integer' : 'a decimal';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}
