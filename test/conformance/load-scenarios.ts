import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { scenarioSchema, type Scenario } from './scenario.ts';

/** In the package they lie beside the code, in the repository among the shared contracts. */
const PACKED = join(import.meta.dirname, 'scenarios');
const FOLDER = existsSync(PACKED) ? PACKED : join(import.meta.dirname, '..', '..', 'shared', 'conformance');
/** Not a scenario: the gateway configuration every scenario starts from. */
const WORLD = 'world.json';

/** All scenarios, by name. Throws when one does not fit the schema, naming its file. */
export function loadScenarios(folder: string = FOLDER): readonly Scenario[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith('.json') && file !== WORLD)
    .sort()
    .map((file) => parseScenario(file, readJson(join(folder, file))));
}

/** The gateway configuration every scenario stands on, before its own `gateway` part is laid over it. */
export function loadWorld(modelUrl: string, folder: string = FOLDER): Readonly<Record<string, unknown>> {
  const text = readFileSync(join(folder, WORLD), 'utf8').replaceAll('${SCRIPTED_MODEL_URL}', modelUrl);
  return JSON.parse(text) as Readonly<Record<string, unknown>>;
}

function readJson(path: string): unknown {
  return JSON.parse(readFileSync(path, 'utf8')) as unknown;
}

function parseScenario(file: string, json: unknown): Scenario {
  const parsed = scenarioSchema.safeParse(json);
  if (!parsed.success) throw new Error(`${file} is not a scenario: ${parsed.error.message}`);
  if (`${parsed.data.name}.json` !== file) throw new Error(`${file} calls itself ${parsed.data.name}`);
  return parsed.data;
}
