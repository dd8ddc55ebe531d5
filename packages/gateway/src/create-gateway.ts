import { setTimeout as sleep } from 'node:timers/promises';
import type { z } from 'zod';
import type { EventMapping } from '@runpurse/core';
import { createAdmission, recoverReservations } from './admit/index.ts';
import { gatewayConfig, type GatewayConfig } from './config/config.ts';
import type { Clock, Gateway, Ids } from './gateway.ts';
import { createIds } from './ids.ts';
import { createKeyRing } from './identify/index.ts';
import { registeredMappings } from './ingest/load-mappings.ts';
import { startNotifier } from './notify/index.ts';
import { createPolicy } from './policy/index.ts';
import { createPriceBook } from './pricing/index.ts';
import { createProviders } from './proxy/providers.ts';
import { startSandbox } from './providers/sandbox/index.ts';
import { openSqliteStore } from './store/sqlite/index.ts';
import { DirectoryInUseError, type Store } from './store/store.ts';

export interface GatewayOptions {
  /** As parsed by `loadConfig`, or plain data in the shape of runpurse.yaml. */
  readonly config?: GatewayConfig | z.input<typeof gatewayConfig>;
  /** Where the ledger lives; one gateway process per directory. */
  readonly directory: string;
  readonly clock?: Clock;
  readonly ids?: Ids;
  /** Mappings of frameworks' own events beside those that come with the gateway and those of `ingest.mappings`; the last of a source wins. */
  readonly mappings?: readonly EventMapping[];
}

/** Makes a gateway's parts and recovers what a crash left open. Throws with a clear message when it can't start. */
export async function createGateway(options: GatewayOptions): Promise<Gateway & { close(): Promise<void> }> {
  const config = isParsed(options.config) ? options.config : gatewayConfig.parse(options.config ?? {});
  const clock = options.clock ?? { now: Date.now };
  const ids = options.ids ?? createIds(clock);
  const mappings = registeredMappings(config.ingest.mappings, options.mappings ?? []);
  const policy = createPolicy(config.policy);
  const prices = createPriceBook({ overrides: config.prices, fallback: config.fallback_price, now: () => clock.now() });
  const store = await openWhenFree(() =>
    openSqliteStore({
      directory: options.directory,
      durability: config.store.durability,
      ...(config.store.max_size_mb === undefined ? {} : { maxSizeMb: config.store.max_size_mb }),
    }),
  );
  const sandboxes = new Map<string, Awaited<ReturnType<typeof startSandbox>>>();
  try {
    for (const provider of config.providers) {
      if (provider.kind === 'sandbox' && provider.base_url === undefined)
        sandboxes.set(provider.name, await startSandbox({ scripts: provider.scripts }));
    }
    const providers = createProviders(
      config.providers.map((provider) => ({ ...provider, models: provider.models ?? modelsOf(sandboxes.get(provider.name)) })),
      prices,
      new Map([...sandboxes].map(([name, sandbox]) => [name, sandbox.url])),
    );
    await recoverReservations(store, clock);
    const keys = createKeyRing(store);
    const admission = createAdmission({ config, store, policy, clock, ids });
    store.onAdminChange(() => {
      keys.reload();
      admission.reloadBudgets();
    });
    const notifier = await startNotifier({
      directory: options.directory,
      store,
      admission,
      privateAddresses: config.webhooks.private_addresses,
    });
    return {
      config,
      clock,
      ids,
      store,
      keys,
      policy,
      prices,
      admission,
      providers,
      mappings,
      notifier,
      async close() {
        await notifier.close();
        admission.close();
        await providers.close();
        await Promise.all([...sandboxes.values()].map((sandbox) => sandbox.close()));
        // Writes what waits, unless the store fails: a full disk must not keep the gateway from stopping (recovery charges the holds).
        await store.close();
      },
    };
  } catch (fault) {
    await Promise.all([...sandboxes.values()].map((sandbox) => sandbox.close()));
    await store.close();
    throw fault;
  }
}

/** A gateway that was told to stop may still be finishing its calls: a restart waits for it a little. */
const OPEN_PATIENCE_MS = 3_000;
const OPEN_AGAIN_MS = 100;

async function openWhenFree(open: () => Promise<Store>): Promise<Store> {
  const deadline = Date.now() + OPEN_PATIENCE_MS;
  for (;;) {
    try {
      return await open();
    } catch (error) {
      if (!(error instanceof DirectoryInUseError) || Date.now() > deadline) throw error;
      await sleep(OPEN_AGAIN_MS);
    }
  }
}

/** A parsed configuration holds amounts as bigint and every default. */
function isParsed(config: unknown): config is GatewayConfig {
  return (
    typeof config === 'object' &&
    config !== null &&
    'limits' in config &&
    'policy' in config &&
    'store' in config &&
    'rate' in config &&
    'ingest' in config &&
    'prices' in config &&
    'bounds' in config
  );
}

function modelsOf(sandbox: { readonly models: readonly string[] } | undefined): string[] | undefined {
  return sandbox === undefined ? undefined : [...sandbox.models];
}
