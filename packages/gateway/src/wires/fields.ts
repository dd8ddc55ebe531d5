import type { Refusal } from '@runpurse/core';
import type { JsonObject } from './wire.ts';

/**
 * The few request fields admission reads, checked as they are read. The first mistake is kept: `invalid` holds the
 * refusal to answer with. What is not read here is the provider's to check.
 */
export interface FieldReader {
  readonly invalid: Refusal | undefined;
  /** Required, not empty. */
  text(name: string): string;
  /** A whole number of at least `min`; null and absence are undefined. */
  count(name: string, min?: number): number | undefined;
  flag(name: string): boolean;
  object(name: string): JsonObject | undefined;
  /** Absent and null read as empty. */
  list(name: string): readonly unknown[];
  /** Notes a mistake found elsewhere. */
  refuse(param: string, message: string): void;
}

export function readFields(body: JsonObject): FieldReader {
  let invalid: Refusal | undefined;
  const refuse = (param: string, message: string): void => {
    invalid ??= { code: 'invalid_request', message, param };
  };
  const given = (name: string): unknown => body[name] ?? undefined;
  const mistyped = (name: string, wanted: string): void =>
    refuse(name, `Invalid type for '${name}': expected ${wanted}, but got ${typeName(body[name])} instead.`);
  return {
    get invalid() {
      return invalid;
    },
    refuse,
    text(name) {
      const value = given(name);
      if (value === undefined) refuse(name, `Missing required parameter: '${name}'.`);
      else if (typeof value !== 'string') mistyped(name, 'a string');
      else if (value.length === 0) refuse(name, `Invalid '${name}': empty string.`);
      else return value;
      return '';
    },
    count(name, min = 1) {
      const value = given(name);
      if (value === undefined) return undefined;
      if (typeof value !== 'number' || !Number.isInteger(value)) mistyped(name, 'an integer');
      else if (value < min || !Number.isSafeInteger(value))
        refuse(name, `Invalid '${name}': integer out of range; it must be at least ${min}, but got ${value}.`);
      else return value;
      return undefined;
    },
    flag(name) {
      const value = given(name);
      if (value === undefined) return false;
      if (typeof value !== 'boolean') mistyped(name, 'a boolean');
      return value === true;
    },
    object(name) {
      const value = given(name);
      if (value === undefined) return undefined;
      if (typeof value === 'object' && !Array.isArray(value)) return value as JsonObject;
      mistyped(name, 'an object');
      return undefined;
    },
    list(name) {
      const value = given(name);
      if (value === undefined) return [];
      if (Array.isArray(value)) return value as readonly unknown[];
      mistyped(name, 'an array');
      return [];
    },
  };
}

function typeName(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'number') return Number.isInteger(value) ? 'an integer' : 'a decimal';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}
