import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** A component of the app as `makecomapp.json` lists it, with the contents of its code files. */
export interface Component {
  readonly id: string;
  readonly kind: ComponentKind;
  readonly label: string;
  readonly description: string | undefined;
  readonly moduleType: ModuleType | undefined;
  readonly connection: string | null | undefined;
  readonly webhook: string | null | undefined;
  /** Code type (`communication`, `mappableParams`, …) to its content. */
  readonly code: Readonly<Record<string, unknown>>;
  /** Code type to its file, from the app's folder. */
  readonly files: Readonly<Record<string, string>>;
}
export type ComponentKind = 'connection' | 'webhook' | 'module' | 'rpc';
export type ModuleType = 'action' | 'search' | 'trigger' | 'instant_trigger' | 'universal' | 'responder';

export interface App {
  readonly folder: string;
  readonly manifest: Manifest;
  readonly base: Readonly<Record<string, unknown>>;
  readonly groups: readonly { readonly label: string; readonly modules: readonly string[] }[];
  readonly components: readonly Component[];
  find(kind: ComponentKind, id: string): Component;
}

interface ListedComponent {
  readonly label?: string;
  readonly description?: string;
  readonly moduleType?: ModuleType;
  readonly connection?: string | null;
  readonly webhook?: string | null;
  readonly codeFiles: Readonly<Record<string, string | null>>;
}
export interface Manifest {
  readonly generalCodeFiles: Readonly<Record<string, string | null>>;
  readonly components: Readonly<Record<string, Readonly<Record<string, ListedComponent>>>>;
  readonly origins: readonly unknown[];
}

export const APP_FOLDER = join(import.meta.dirname, '..', '..', 'app');
const KINDS: readonly ComponentKind[] = ['connection', 'webhook', 'module', 'rpc'];

/** Reads the app the way the Apps Editor does: from `makecomapp.json` on, so that a file which is not listed is not there. */
export function loadApp(folder: string = APP_FOLDER): App {
  const manifest = readJson(folder, 'makecomapp.json') as Manifest;
  const components = KINDS.flatMap((kind) =>
    Object.entries(manifest.components[kind] ?? {}).map(([id, listed]): Component => {
      const files = Object.entries(listed.codeFiles).filter((entry): entry is [string, string] => entry[1] !== null);
      return {
        id,
        kind,
        label: listed.label ?? '',
        description: listed.description,
        moduleType: listed.moduleType,
        connection: listed.connection,
        webhook: listed.webhook,
        files: Object.fromEntries(files),
        code: Object.fromEntries(files.map(([type, path]) => [type, readJson(folder, path)])),
      };
    }),
  );
  return {
    folder,
    manifest,
    components,
    base: readJson(folder, manifest.generalCodeFiles['base'] ?? '') as App['base'],
    groups: readJson(folder, manifest.generalCodeFiles['groups'] ?? '') as App['groups'],
    find(kind, id) {
      const found = components.find((component) => component.kind === kind && component.id === id);
      if (found === undefined) throw new Error(`the app has no ${kind} ${id}`);
      return found;
    },
  };
}

function readJson(folder: string, path: string): unknown {
  return JSON.parse(readFileSync(join(folder, path), 'utf8')) as unknown;
}
