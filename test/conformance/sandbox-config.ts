import type { GatewayOptions } from '@runpurse/gateway';

type Config = NonNullable<GatewayOptions['config']>;

/** Each call of a sandbox model costs $0.00101. */
const usage = { input_tokens: 10, output_tokens: 500 };

/** What a model of the sandbox answers, call after call. */
export type SandboxScript = readonly object[];

export const SAYS_DONE: SandboxScript = [{ text: 'done', usage }];

/** Calls a tool, then says that it is done. */
export const callsTool = (name: string): SandboxScript => [{ tool_calls: [{ name, arguments: { q: 'x' } }], usage }, ...SAYS_DONE];

/**
 * A gateway for an adapter's own tests: sandbox models by name, a tool `lookup` for $0.002, and $0.05 for each run.
 * `more` replaces whole sections.
 */
export function sandboxConfig(scripts: Readonly<Record<string, SandboxScript>>, more: object = {}): Config {
  return {
    providers: [{ name: 'sandbox', kind: 'sandbox', scripts }],
    tools: [{ name: 'lookup', price_usd: '0.002' }],
    budgets: [{ scope: 'run', id: '*', limit_usd: '0.05' }],
    rate: { requests_per_minute: 1_000 },
    ...more,
  } as Config;
}
