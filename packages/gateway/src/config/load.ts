import { readFileSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { RunpurseError } from '@runpurse/core';
import { isAlias, isCollection, isPair, isScalar, parseDocument, visit } from 'yaml';
import { createPolicy } from '../policy/index.ts';
import { gatewayConfig, type GatewayConfig } from './config.ts';
import { keysAllowedBy, mistakesOf, pathText } from './issues.ts';

/** The configuration can't be used. The message names the file, the offending path and what to write instead. */
export class ConfigError extends RunpurseError {
  constructor(message: string, cause?: unknown) {
    super('config_invalid', message, { cause });
    this.name = 'ConfigError';
  }
}

export type Environment = Readonly<Record<string, string | undefined>>;

/** What a gateway without a configuration file runs on: the offline sandbox provider, the rate cap, no budgets. */
export function defaultConfig(): GatewayConfig {
  return gatewayConfig.parse({});
}

/** Reads and validates runpurse.yaml. Throws `ConfigError`. */
export function loadConfig(file: string, environment: Environment): GatewayConfig {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    const why = code === 'ENOENT' ? 'there is no such file' : code === 'EISDIR' ? 'it is a directory' : String(code ?? error);
    throw new ConfigError(`Cannot read the configuration ${file}: ${why}.`, error);
  }
  const config = parseConfig(text, basename(file), environment);
  // A path in the file is meant from where the file lies, whoever starts the gateway from wherever.
  const providers = config.providers.map((provider) =>
    typeof provider.scripts === 'string' ? { ...provider, scripts: resolve(dirname(file), provider.scripts) } : provider,
  );
  const { mappings } = config.ingest;
  return { ...config, providers, ingest: mappings === undefined ? {} : { mappings: resolve(dirname(file), mappings) } };
}

/** The configuration in a YAML text; `fileName` is what messages call it. */
export function parseConfig(text: string, fileName: string, environment: Environment): GatewayConfig {
  const { value, fromEnvironment } = readYaml(text, fileName, environment);
  const root = value ?? {};
  let result = gatewayConfig.safeParse(root);
  if (!result.success && coerceFromEnvironment(root, result.error.issues, fromEnvironment)) result = gatewayConfig.safeParse(root);
  if (!result.success) {
    const mistakes = mistakesOf(result.error.issues, root, keysAllowedBy(gatewayConfig)).map(({ path, message }) =>
      path === ''
        ? `${fileName}: ${message}`
        : `${fileName}: ${path}: ${fromEnvironment.has(path) ? message.replace(/, not .*$/s, '') : message}`,
    );
    throw new ConfigError(mistakes.join('\n'));
  }
  refuseDuplicates(result.data, fileName);
  refuseBrokenRules(result.data, fileName);
  return result.data;
}

const VARIABLE = /\$?\$\{([A-Za-z_][A-Za-z0-9_]*)\}/g;
const PLACEHOLDER = /runpurse-env-([A-Za-z_][A-Za-z0-9_]*)-vne/g;

/**
 * YAML with `${NAME}` filled in from the environment. A name stands in for its value until after parsing, so a value is
 * never read as YAML (a secret may hold any character) and `{ api_key: ${KEY} }` needs no quotes. `$${NAME}` stays as text.
 */
function readYaml(text: string, fileName: string, environment: Environment): { value: unknown; fromEnvironment: ReadonlySet<string> } {
  const marked = text.replace(VARIABLE, (match, name: string) => (match.startsWith('$$') ? match : `runpurse-env-${name}-vne`));
  const document = parseDocument(marked, { prettyErrors: true, uniqueKeys: true });
  const [problem] = document.errors;
  if (problem !== undefined) throw new ConfigError(`${fileName}: not valid YAML: ${original(problem.message)}`, problem);

  const fromEnvironment = new Set<string>();
  visit(document, {
    Scalar(key, node, ancestors) {
      if (typeof node.value !== 'string') return;
      const path = key === 'key' ? '' : pathOf(key, ancestors);
      const filled = node.value
        .replace(PLACEHOLDER, (_match, name: string) => {
          const value = environment[name];
          if (value === undefined || value === '')
            throw new ConfigError(
              `${fileName}: ${path === '' ? '' : `${path}: `}the environment variable ${name} is ${value === '' ? 'empty' : 'not set'}. Set it, or take it out of ${fileName}.`,
            );
          fromEnvironment.add(path);
          return value;
        })
        .replaceAll('$${', '${');
      node.value = filled;
    },
  });
  return { value: document.toJS({ maxAliasCount: 100 }) as unknown, fromEnvironment };
}

/** Errors quote the text; they quote it as the operator wrote it. */
function original(text: string): string {
  return text.replace(PLACEHOLDER, (_match, name: string) => `\${${name}}`);
}

function pathOf(key: unknown, ancestors: readonly unknown[]): string {
  const parts: PropertyKey[] = [];
  ancestors.forEach((ancestor, index) => {
    const child = ancestors[index + 1];
    if (isPair(ancestor) && isScalar(ancestor.key)) parts.push(String(ancestor.key.value));
    else if (isCollection(ancestor) && !isPair(child) && child !== undefined) parts.push(ancestor.items.indexOf(child as never));
  });
  const parent = ancestors.at(-1);
  if (isCollection(parent) && typeof key === 'number' && !isAlias(parent)) parts.push(key);
  return pathText(parts);
}

/** A variable is text; where a number or a switch is wanted, `"120"` or `"true"` is taken as one. */
function coerceFromEnvironment(
  root: unknown,
  issues: readonly { code?: string; path: readonly PropertyKey[] }[],
  fromEnvironment: ReadonlySet<string>,
): boolean {
  let changed = false;
  for (const issue of issues) {
    if (issue.code !== 'invalid_type' || !fromEnvironment.has(pathText(issue.path))) continue;
    const last = issue.path.at(-1);
    const holder = issue.path.slice(0, -1).reduce<unknown>((value, part) => (value as Record<PropertyKey, unknown>)[part], root) as Record<
      PropertyKey,
      unknown
    >;
    if (last === undefined) continue;
    const text = String(holder[last]).trim();
    if (/^-?\d+(\.\d+)?$/.test(text)) holder[last] = Number(text);
    else if (text === 'true' || text === 'false') holder[last] = text === 'true';
    else continue;
    changed = true;
  }
  return changed;
}

/** Names that refer to one thing: given twice, it could not be told which is meant. */
function refuseDuplicates(config: GatewayConfig, fileName: string): void {
  const lists: readonly { path: string; field: string; names: readonly (string | undefined)[] }[] = [
    { path: 'providers', field: 'name', names: config.providers.map(({ name }) => name) },
    { path: 'tools', field: 'name', names: config.tools.map(({ name }) => name) },
    { path: 'budgets', field: 'name', names: config.budgets.map(({ name }) => name) },
    { path: 'policy.rules', field: 'id', names: config.policy.rules.map(({ id }) => id) },
    {
      path: 'prices',
      field: 'model',
      names: config.prices.map(({ provider, model }) => (provider === undefined ? model : `${provider}/${model}`)),
    },
  ];
  for (const { path, field, names } of lists) {
    const at = names.findIndex((name, index) => name !== undefined && names.indexOf(name) < index);
    if (at === -1) continue;
    const name = names[at];
    throw new ConfigError(
      `${fileName}: ${path}[${at}].${field}: ${JSON.stringify(name)} is already used by ${path}[${names.indexOf(name)}]; each must be unique.`,
    );
  }
}

/** Compiles the rules once, so that a broken one is told with its file before anything is opened. */
function refuseBrokenRules(config: GatewayConfig, fileName: string): void {
  try {
    createPolicy(config.policy);
  } catch (error) {
    if (!RunpurseError.isInstance(error)) throw error;
    throw new ConfigError(
      error.message
        .split('\n')
        .map((line) => `${fileName}: ${line}`)
        .join('\n'),
      error,
    );
  }
}
