import { Pool } from 'undici';
import type { Refusal } from '@runpurse/core';
import type { ProviderConfig } from '../config/config.ts';
import type { PriceBook } from '../pricing/price-card.ts';

/** A provider as called: its pool of connections, where its API lives and the headers that carry its credential. */
export interface Provider {
  readonly config: ProviderConfig;
  readonly name: string;
  readonly kind: ProviderConfig['kind'];
  readonly priceAs: string | undefined;
  readonly baseUrl: string;
  readonly pool: Pool;
  /** What stands before a wire's path less its `/v1`, such as `/v1`. */
  readonly basePath: string;
  /** The query of its base URL, such as `?api-version=…`; goes with every call. Empty: none. */
  readonly query: string;
  /** Flat list `name, value, …` in undici's form: host, credential, configured extras. */
  readonly headers: readonly string[];
}

export type Resolved =
  { readonly type: 'found'; readonly provider: Provider; readonly model: string } | { readonly type: 'refused'; readonly refusal: Refusal };

/** The configured providers. */
export interface Providers {
  /** `provider/model`, or a bare name exactly one provider claims; otherwise a refusal that names the choices. */
  resolve(model: string, wireKind: 'openai' | 'anthropic'): Resolved;
  list(): readonly Provider[];
  /** Model names per provider for `GET /v1/models`. */
  models(): readonly { readonly provider: string; readonly model: string }[];
  close(): Promise<void>;
}

const DEFAULT_BASE_URL = { openai: 'https://api.openai.com/v1', anthropic: 'https://api.anthropic.com' } as const;

/** A version segment at the end of a base path: `/v1`, `/v1beta`, `/api/paas/v4`. */
const VERSIONED = /\/v\d[a-z0-9]*$/;

/**
 * Where a wire's paths begin under a base URL. Clients of OpenAI write `…/v1`, those of Anthropic leave it out; both are
 * understood for both, and a bare host gets `/v1`.
 */
export function basePathOf(kind: ProviderConfig['kind'], pathname: string): string {
  const path = pathname.replace(/\/+$/, '');
  if (VERSIONED.test(path)) return path;
  return kind === 'anthropic' || path === '' ? `${path}/v1` : path;
}

function openProvider(config: ProviderConfig, baseUrl: string): Provider {
  const url = new URL(baseUrl);
  const timeoutMs = config.timeout_s * 1000;
  const pool = new Pool(url.origin, {
    connections: config.max_connections,
    pipelining: 1,
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
    connect: { timeout: Math.min(10_000, timeoutMs) },
    keepAliveTimeout: 30_000,
  });
  const credential =
    config.api_key === undefined
      ? []
      : config.kind === 'anthropic'
        ? ['x-api-key', config.api_key]
        : ['authorization', `Bearer ${config.api_key}`];
  return {
    config,
    name: config.name,
    kind: config.kind,
    priceAs: config.price_as,
    baseUrl,
    pool,
    basePath: basePathOf(config.kind, url.pathname),
    query: url.search,
    headers: ['host', url.host, ...credential, ...Object.entries(config.headers ?? {}).flat()],
  };
}

/** Opens the providers; `sandboxUrls` says where the in-process sandboxes listen, by provider name. */
export function createProviders(
  configs: readonly ProviderConfig[],
  prices: PriceBook,
  sandboxUrls: ReadonlyMap<string, string>,
): Providers {
  const providers = configs.map((config) => {
    const baseUrl = config.base_url ?? (config.kind === 'sandbox' ? sandboxUrls.get(config.name) : DEFAULT_BASE_URL[config.kind]);
    if (baseUrl === undefined) throw new Error(`provider ${config.name}: no address of its sandbox`);
    return openProvider(config, baseUrl);
  });
  const byName = new Map(providers.map((provider) => [provider.name, provider]));
  const speaks = (provider: Provider, wireKind: 'openai' | 'anthropic'): boolean =>
    provider.kind === 'sandbox' || provider.kind === wireKind;
  const names = providers.map((provider) => provider.name).join(', ');

  const wrongWire = (provider: Provider, model: string, wireKind: string): Resolved => ({
    type: 'refused',
    refusal: {
      code: 'model_not_found',
      message: `Provider ${provider.name} speaks the ${provider.kind} API, and this call uses the ${wireKind} one. Call ${model} through ${provider.kind === 'anthropic' ? '/v1/messages' : '/v1/chat/completions or /v1/responses'}, or name a provider that speaks ${wireKind}.`,
      param: 'model',
    },
  });

  const claims = (provider: Provider, model: string): boolean =>
    provider.config.models === undefined ? prices.find(provider, model) !== undefined : provider.config.models.includes(model);

  /** Who claims each bare name; models come and go rarely, names repeat. */
  const bareNames = new Map<string, Resolved>();

  const resolveBare = (model: string, wireKind: 'openai' | 'anthropic'): Resolved => {
    const able = providers.filter((provider) => speaks(provider, wireKind));
    const listed = able.filter((provider) => provider.config.models?.includes(model) === true);
    const claiming = listed.length > 0 ? listed : able.filter((provider) => claims(provider, model));
    const [only] = claiming.length > 0 ? claiming : able.filter((provider) => provider.config.models === undefined);
    if (only !== undefined && (claiming.length === 1 || (claiming.length === 0 && able.length === 1)))
      return { type: 'found', provider: only, model };
    if (claiming.length > 1) {
      return {
        type: 'refused',
        refusal: {
          code: 'model_not_found',
          message: `Model ${model} is offered by ${claiming.map((provider) => provider.name).join(' and ')}. Say which: ${claiming.map((provider) => `"${provider.name}/${model}"`).join(' or ')}.`,
          param: 'model',
        },
      };
    }
    return {
      type: 'refused',
      refusal: {
        code: 'model_not_found',
        message: `No configured provider claims model ${model}. Write "provider/model" (providers: ${names}), or list the model under its provider's models: in runpurse.yaml.`,
        param: 'model',
      },
    };
  };

  return {
    resolve(model, wireKind) {
      const slash = model.indexOf('/');
      if (slash > 0) {
        const provider = byName.get(model.slice(0, slash));
        if (provider !== undefined) {
          const bare = model.slice(slash + 1);
          if (bare === '')
            return {
              type: 'refused',
              refusal: {
                code: 'model_not_found',
                message: `model "${model}" names a provider but no model. Write "${provider.name}/MODEL".`,
                param: 'model',
              },
            };
          return speaks(provider, wireKind) ? { type: 'found', provider, model: bare } : wrongWire(provider, bare, wireKind);
        }
      }
      const key = `${wireKind} ${model}`;
      const known = bareNames.get(key);
      if (known !== undefined) return known;
      const resolved = resolveBare(model, wireKind);
      if (bareNames.size < 10_000) bareNames.set(key, resolved);
      return resolved;
    },
    list: () => providers,
    models: () => providers.flatMap((provider) => (provider.config.models ?? []).map((model) => ({ provider: provider.name, model }))),
    async close() {
      await Promise.all(providers.map((provider) => provider.pool.destroy()));
    },
  };
}
