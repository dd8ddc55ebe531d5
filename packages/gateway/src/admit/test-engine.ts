import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { z } from 'zod';
import { gatewayConfig } from '../config/config.ts';
import { createIds } from '../ids.ts';
import { createPolicy } from '../policy/index.ts';
import { openSqliteStore } from '../store/sqlite/index.ts';
import type { Store } from '../store/store.ts';
import { createAdmission, recoverReservations } from './index.ts';
import type { CallRequest, Subject } from './types.ts';

/** An admission engine on a real store in a folder of its own, with a clock that tests turn. For tests of this room. */
export interface TestEngine {
  readonly admission: ReturnType<typeof createAdmission>;
  readonly store: Store;
  readonly clock: { now(): number; turn(ms: number): void };
  /** A model call that costs at most `holdNanos`. */
  call(holdNanos: bigint | undefined, more?: Omit<Partial<CallRequest>, 'subject'> & { subject?: Partial<Subject> }): CallRequest;
  /** Closes and opens again on the same folder, as after a restart; what is open is recovered. */
  restart(): Promise<TestEngine>;
  close(): Promise<void>;
}

export async function openTestEngine(
  config: z.input<typeof gatewayConfig> = {},
  directory = mkdtempSync(join(tmpdir(), 'runpurse-admit-')),
  startAt = Date.UTC(2026, 10, 24, 12),
): Promise<TestEngine> {
  const parsed = gatewayConfig.parse({ rate: { requests_per_minute: 1_000_000 }, ...config });
  let now = startAt;
  const clock = {
    now: () => now,
    turn(ms: number) {
      now += ms;
    },
  };
  const ids = createIds(clock);
  const store = await openSqliteStore({ directory, durability: 'relaxed' });
  await recoverReservations(store, clock);
  const admission = createAdmission({ config: parsed, store, policy: createPolicy(parsed.policy), clock, ids });
  const shut = async (): Promise<void> => {
    admission.close();
    await store.flush();
    await store.close();
  };
  return {
    admission,
    store,
    clock,
    call: (holdNanos, { subject, ...more } = {}) => ({
      kind: 'model',
      name: 'm',
      provider: 'p',
      source: 'gateway',
      id: ids.next('req'),
      hold: holdNanos,
      ...more,
      subject: { workspaceId: 'w', keyId: 'k', runId: 'r', implicitRun: false, ...subject },
    }),
    async restart() {
      await shut();
      return openTestEngine(config, directory, now);
    },
    async close() {
      await shut();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
