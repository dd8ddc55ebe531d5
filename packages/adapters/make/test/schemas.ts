import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv, type ValidateFunction } from 'ajv';
import type { Component } from './renderer/app.ts';

const FOLDER = join(import.meta.dirname, 'schema');

/** The schemas of this app's files, written from Make's documentation: stricter than what Make takes, never looser. */
const ajv = new Ajv({
  allErrors: true,
  strict: true,
  strictTypes: false,
  strictRequired: false,
  allowUnionTypes: true,
  formats: { regex: isPattern },
});
for (const file of readdirSync(FOLDER)) ajv.addSchema(JSON.parse(readFileSync(join(FOLDER, file), 'utf8')) as object);

function isPattern(text: string): boolean {
  try {
    new RegExp(text);
    return true;
  } catch {
    return false;
  }
}

/** What is wrong with a file's content; nothing when it fits. */
export function mistakesIn(content: unknown, schema: string): readonly string[] {
  const validate = ajv.getSchema(schema) as ValidateFunction | undefined;
  if (validate === undefined) throw new Error(`there is no ${schema}`);
  return validate(content) === true ? [] : (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`);
}

const SCHEMA_BY_CODE: Readonly<Record<string, string>> = {
  communication: 'communication.schema.json',
  attach: 'communication.schema.json',
  detach: 'communication.schema.json',
  epoch: 'epoch.schema.json',
  params: 'parameters.schema.json',
  staticParams: 'parameters.schema.json',
  mappableParams: 'parameters.schema.json',
  interface: 'parameters.schema.json',
  samples: 'samples.schema.json',
  scope: 'scope.schema.json',
  requiredScope: 'scope.schema.json',
};

/** The schema of one code file of a component. */
export function schemaOf(component: Component, code: string): string {
  if (code === 'communication' && component.kind === 'connection') return 'connection.schema.json';
  if (code === 'communication' && component.kind === 'webhook') return 'webhook.schema.json';
  if (code === 'communication' && component.moduleType === 'instant_trigger') return 'instant-trigger.schema.json';
  const schema = SCHEMA_BY_CODE[code];
  if (schema === undefined) throw new Error(`there is no schema for ${code}`);
  return schema;
}
