import type { Scope } from './iml.ts';
import { isTruthy } from './functions.ts';
import { MakeError } from './make-error.ts';
import type { Bundle, Player } from './play.ts';
import { render } from './render.ts';
import { text } from './text.ts';

/** A scenario as Make exports and imports it: https://github.com/integromat/make-skills, blueprint-construction.md. */
export interface Blueprint {
  readonly name: string;
  readonly flow: readonly BlueprintModule[];
}
export interface BlueprintModule {
  readonly id: number;
  /** `app:module`; of a custom app `app#its-id:module`. */
  readonly module: string;
  readonly mapper?: Readonly<Record<string, unknown>> | null;
  readonly filter?: Filter | null;
  readonly routes?: readonly { readonly flow: readonly BlueprintModule[] }[];
  readonly onerror?: readonly BlueprintModule[];
}
interface Filter {
  readonly name: string;
  /** Groups of which one must hold, each of conditions that all must. */
  readonly conditions: readonly (readonly { readonly a: string; readonly b?: string; readonly o: string }[])[];
}

/** What stands in for the modules of other apps: their name to what they put out. */
export type OtherModules = Readonly<Record<string, (input: Bundle) => Promise<Bundle> | Bundle>>;

/** How a scenario ended for one bundle. */
export type ScenarioEnd =
  | { readonly type: 'completed' }
  /** No handler, or one that rolls back: the bundle is not worked on further. */
  | { readonly type: 'stopped'; readonly error: MakeError }
  /** A handler took care of it and ended the bundle's way. */
  | { readonly type: 'handled'; readonly error: MakeError };

export interface Played {
  readonly end: ScenarioEnd;
  /** What each module put out, by its number. */
  readonly bundles: Readonly<Record<string, Bundle>>;
  /** The modules that ran, in order. */
  readonly ran: readonly number[];
}

/** The part of a custom app's module name before Make's own id, such as `app#runpurse`. */
export const OURS = /^app#runpurse(?:-[a-z0-9]+)?:(\w+)$/;
/** An account's fault is met before the scenario runs: no handler hears of it. */
const UNHANDLED: ReadonlySet<string> = new Set(['AccountValidationError']);

/** Plays a blueprint for one bundle of its trigger, our modules by the player, those of other apps by what stands in for them. */
export async function playBlueprint(blueprint: Blueprint, trigger: Bundle, player: Player, others: OtherModules): Promise<Played> {
  const bundles: Record<string, Bundle> = {};
  const ran: number[] = [];
  const [first, ...rest] = blueprint.flow;
  if (first === undefined) throw new Error('the blueprint is empty');
  bundles[first.id] = trigger;
  ran.push(first.id);

  /** True: the flow came to its end. */
  async function runFlow(flow: readonly BlueprintModule[]): Promise<ScenarioEnd> {
    for (const module of flow) {
      if (module.filter !== undefined && module.filter !== null && !passes(module.filter, bundles)) return { type: 'completed' };
      if (module.module === 'builtin:BasicRouter') return runRoutes(module);
      const ended = await runModule(module);
      if (ended !== undefined) return ended;
    }
    return { type: 'completed' };
  }

  /** A bundle goes down every route whose filter it passes, one after the other. */
  async function runRoutes(router: BlueprintModule): Promise<ScenarioEnd> {
    for (const route of router.routes ?? []) {
      const ended = await runFlow(route.flow);
      if (ended.type !== 'completed') return ended;
    }
    return { type: 'completed' };
  }

  /** Undefined: on to the next module. */
  async function runModule(module: BlueprintModule): Promise<ScenarioEnd | undefined> {
    ran.push(module.id);
    try {
      bundles[module.id] = await output(module);
      return undefined;
    } catch (error) {
      if (!(error instanceof MakeError)) throw error;
      if (module.onerror === undefined || UNHANDLED.has(error.type)) return { type: 'stopped', error };
      bundles[module.id] = { error: { type: error.type, message: error.message } };
      return handle(module, module.onerror, error);
    }
  }

  async function handle(failed: BlueprintModule, route: readonly BlueprintModule[], error: MakeError): Promise<ScenarioEnd | undefined> {
    for (const module of route) {
      if (module.filter !== undefined && module.filter !== null && !passes(module.filter, bundles)) return { type: 'stopped', error };
      switch (module.module) {
        case 'builtin:Resume':
          bundles[failed.id] = render(module.mapper ?? {}, bundles) as Bundle;
          return undefined;
        case 'builtin:Ignore':
        case 'builtin:Commit':
          return { type: 'handled', error };
        case 'builtin:Rollback':
        case 'builtin:Break':
          return { type: 'stopped', error };
        default: {
          const ended = await runModule(module);
          if (ended !== undefined) return ended;
        }
      }
    }
    return { type: 'stopped', error };
  }

  async function output(module: BlueprintModule): Promise<Bundle> {
    const input = mapped(module, bundles);
    const ours = OURS.exec(module.module)?.[1];
    if (ours !== undefined) return player.action(ours, input);
    const other = others[module.module];
    if (other === undefined) throw new Error(`nothing stands in for ${module.module}`);
    return other(input);
  }

  return { end: await runFlow(rest), bundles, ran };
}

/** A mapped field that leads to nothing is one left empty. */
function mapped(module: BlueprintModule, bundles: Scope): Bundle {
  const input = render(module.mapper ?? {}, bundles) as Bundle;
  return Object.fromEntries(Object.entries(input).filter(([, value]) => value !== undefined && value !== ''));
}

type Operator = (a: unknown, b: string) => boolean;
const OPERATORS: Readonly<Record<string, Operator>> = {
  'text:equal': (a, b) => text(a) === b,
  'text:notequal': (a, b) => text(a) !== b,
  'text:contain': (a, b) => text(a).includes(b),
  'text:notcontain': (a, b) => !text(a).includes(b),
  'number:less': (a, b) => Number(a) < Number(b),
  'number:greater': (a, b) => Number(a) > Number(b),
  exist: (a) => isTruthy(a),
  notexist: (a) => !isTruthy(a),
};

function passes({ conditions }: Filter, bundles: Scope): boolean {
  return conditions.some((all) =>
    all.every(({ a, b, o }) => {
      const operator = OPERATORS[o];
      if (operator === undefined) throw new Error(`no filter ${o} is known here`);
      return operator(render(a, bundles), text(b === undefined ? '' : render(b, bundles)));
    }),
  );
}

/** Every module of a blueprint, with those that ran before it for certain on its way: what it may map from. */
export function modulesOf(
  flow: readonly BlueprintModule[],
  before: readonly number[] = [],
): readonly { readonly module: BlueprintModule; readonly before: readonly number[] }[] {
  const known = [...before];
  return flow.flatMap((module) => {
    const here = { module, before: [...known] };
    known.push(module.id);
    return [here, ...(module.routes ?? []).flatMap((route) => modulesOf(route.flow, known)), ...modulesOf(module.onerror ?? [], known)];
  });
}

/** What the expressions of a module read, as `[module, field]`. */
export function mappingsOf(module: BlueprintModule): readonly (readonly [number, string])[] {
  const written = JSON.stringify([module.mapper ?? {}, module.filter ?? {}]);
  return [...written.matchAll(/\{\{(.*?)\}\}/g)].flatMap((match) =>
    [...(match[1] ?? '').matchAll(/(?<![\w.'"])(\d+)\.(\w+)/g)].map((found) => [Number(found[1]), found[2] ?? ''] as const),
  );
}
