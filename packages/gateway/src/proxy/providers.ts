import type { Pool } from 'undici';
import type { ProviderConfig } from '../config/config.ts';
import type { Refusal } from '@runpurse/core';

/** A provider as called: its pool of connections, where its API lives and the headers that carry its credential. */
export interface Provider {
  readonly config: ProviderConfig;
  readonly name: string;
  readonly kind: 'openai' | 'anthropic' | 'sandbox';
  readonly pool: Pool;
  /** Path prefix of its base URL, such as `/v1`. */
  readonly basePath: string;
  readonly host: string;
  /** Flat list `[name, value, …]` in undici's form: credential, configured extras. */
  readonly headers: readonly string[];
}

/** The configured providers. */
export interface Providers {
  /** `provider/model`, or a bare name exactly one provider claims; otherwise a refusal that names the choices. */
  resolve(model: string, wireKind: 'openai' | 'anthropic'): { readonly type: 'found'; readonly provider: Provider; readonly model: string } | { readonly type: 'refused'; readonly refusal: Refusal };
  list(): readonly Provider[];
  /** Model names per provider for `GET /v1/models`. */
  models(): readonly { readonly provider: string; readonly model: string }[];
  close(): Promise<void>;
}
