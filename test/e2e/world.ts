import type { StubProvider } from './provider.ts';

/** Prices that are easy in the head: $1 a million tokens in, $10 out. 1000 in and 100 out cost $0.002. */
export function world(provider: StubProvider, more: Readonly<Record<string, unknown>> = {}): Readonly<Record<string, unknown>> {
  const price = { input_mtok_usd: '1', output_mtok_usd: '10', max_input_tokens: 128_000, max_output_tokens: 1_000 };
  return {
    providers: [
      {
        name: 'openai',
        kind: 'openai',
        base_url: `${provider.url}/v1`,
        api_key: 'sk-openai-provider-key',
        models: ['gpt-e2e', 'embed-e2e', 'gpt-unknown'],
        timeout_s: 2,
      },
      {
        name: 'anthropic',
        kind: 'anthropic',
        base_url: provider.url,
        api_key: 'sk-ant-provider-key',
        models: ['claude-e2e'],
        timeout_s: 2,
      },
    ],
    prices: [
      ...['gpt-e2e', 'gpt-e2e-2026-01-01'].map((model) => ({ provider: 'openai', model, ...price })),
      ...['claude-e2e', 'claude-e2e-20260101'].map((model) => ({ provider: 'anthropic', model, ...price })),
      { provider: 'openai', model: 'embed-e2e', input_mtok_usd: '1', output_mtok_usd: '0', max_input_tokens: 8_000 },
    ],
    budgets: [{ scope: 'run', id: '*', limit_usd: '0.05' }],
    rate: { requests_per_minute: 10_000 },
    ...more,
  };
}
