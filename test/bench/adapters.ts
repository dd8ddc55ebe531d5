import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { AddedTime } from '@runpurse/conformance';
import { ADAPTERS } from '../conformance/registry.ts';
import { ROOT } from './targets.ts';

/** What each adapter of the registry adds to a call, of those that measure it (`test/bench.ts` of its package). */
export async function benchAdapters(rounds: number): Promise<readonly AddedTime[]> {
  const figures: AddedTime[] = [];
  for (const { name } of ADAPTERS) {
    const file = join(ROOT, 'packages', 'adapters', name, 'test', 'bench.ts');
    if (!existsSync(file)) continue;
    const { benchAdapter } = (await import(file)) as { benchAdapter(options: { readonly rounds: number }): Promise<AddedTime> };
    figures.push(await benchAdapter({ rounds }));
  }
  return figures;
}
