import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { AddedTime } from '@runpurse/conformance';
import { ADAPTERS } from '../conformance/registry.ts';
import { ROOT } from './targets.ts';

/** What each adapter of the registry adds to a call, one after the other, of those that measure it (`test/bench.ts` of its package). */
export async function* benchAdapters(rounds: number): AsyncGenerator<AddedTime> {
  for (const { name } of ADAPTERS) {
    const file = ['bench.ts', 'bench.mts'].map((base) => join(ROOT, 'packages', 'adapters', name, 'test', base)).find(existsSync);
    if (file === undefined) continue;
    const { benchAdapter } = (await import(file)) as { benchAdapter(options: { readonly rounds: number }): Promise<AddedTime> };
    yield await benchAdapter({ rounds });
  }
}
