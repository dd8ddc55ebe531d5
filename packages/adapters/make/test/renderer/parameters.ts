import { MakeError } from './make-error.ts';

/** A field of a form, as `*.params.iml.json`, `*.static-params.iml.json` and `*.mappable-params.iml.json` describe it. */
export interface Parameter {
  readonly name: string;
  readonly type: string;
  readonly label?: string;
  readonly help?: string;
  readonly required?: boolean;
  readonly advanced?: boolean;
  readonly default?: unknown;
  readonly options?: unknown;
  readonly spec?: unknown;
  readonly multiline?: boolean;
  readonly validate?: { readonly pattern?: string; readonly min?: number; readonly max?: number };
}

/**
 * What a field that the user left empty is to the app. Make's documentation does not say, so the app must work with each:
 * the key is not there, it is null, or it is an empty text.
 */
export type Empties = 'omitted' | 'null' | 'text';

/** A module's input as the scenario hands it over: defaults filled in, types brought about, required fields there. */
export function readParameters(
  spec: readonly Parameter[],
  given: Readonly<Record<string, unknown>>,
  empties: Empties,
): Readonly<Record<string, unknown>> {
  const unknown = Object.keys(given).filter((name) => !spec.some((parameter) => parameter.name === name));
  if (unknown.length > 0) throw new Error(`the module has no field ${unknown.join(', ')}`);
  const read: Record<string, unknown> = {};
  for (const parameter of spec) {
    const raw = given[parameter.name] ?? parameter.default;
    if (raw === undefined || raw === '') {
      if (parameter.required === true)
        throw new MakeError('BundleValidationError', `Missing value of required parameter '${parameter.name}'.`);
      if (empties === 'null') read[parameter.name] = null;
      if (empties === 'text') read[parameter.name] = '';
      continue;
    }
    read[parameter.name] = valueOf(parameter, raw);
  }
  return read;
}

function valueOf(parameter: Parameter, raw: unknown): unknown {
  const invalid = (why: string): MakeError =>
    new MakeError('BundleValidationError', `Invalid value of parameter '${parameter.name}': ${why}.`);
  switch (parameter.type) {
    case 'number':
    case 'uinteger':
    case 'integer': {
      const value = Number(raw);
      if (Number.isNaN(value) || (parameter.type === 'uinteger' && value < 0)) throw invalid('not a number');
      if (value < (parameter.validate?.min ?? -Infinity) || value > (parameter.validate?.max ?? Infinity)) throw invalid('out of range');
      return value;
    }
    case 'boolean':
      return raw === true || raw === 'true';
    case 'array':
      if (!Array.isArray(raw)) throw invalid('not an array');
      return raw;
    case 'any':
      return raw;
    case 'select': {
      const values = Array.isArray(parameter.options) ? parameter.options.map((option: { value: unknown }) => option.value) : undefined;
      if (values !== undefined && !values.includes(raw)) throw invalid(`not one of ${values.join(', ')}`);
      return raw;
    }
    default: {
      const value = String(raw);
      const pattern = parameter.validate?.pattern;
      if (pattern !== undefined && !new RegExp(pattern).test(value)) throw invalid('it does not have the right form');
      if (value.length > (parameter.validate?.max ?? Infinity)) throw invalid('it is too long');
      return value;
    }
  }
}
