import type { EventMapping } from '@runpurse/core';
import type { Admission } from './admit/types.ts';
import type { GatewayConfig } from './config/config.ts';
import type { KeyRing } from './identify/key-ring.ts';
import type { Notifier } from './notify/index.ts';
import type { Policy } from './policy/policy.ts';
import type { PriceBook } from './pricing/price-card.ts';
import type { Store } from './store/store.ts';
import type { Providers } from './proxy/providers.ts';

/** Time in epoch milliseconds; injected, so that tests can turn it. */
export interface Clock {
  now(): number;
}

/** Sortable unique ids: `next('req')` gives `req_…`. */
export interface Ids {
  next(prefix: 'req' | 'auth' | 'run' | 'evt' | 'dec' | 'key' | 'bud' | 'whk'): string;
}

/** The gateway's parts, made once by `createGateway` and handed to the model path and to the API. */
export interface Gateway {
  readonly config: GatewayConfig;
  readonly clock: Clock;
  readonly ids: Ids;
  readonly store: Store;
  readonly keys: KeyRing;
  readonly policy: Policy;
  readonly prices: PriceBook;
  readonly admission: Admission;
  readonly providers: Providers;
  readonly notifier: Notifier;
  /** How the frameworks' own events read: data, never code (mappings/README.md). */
  readonly mappings: readonly EventMapping[];
}
