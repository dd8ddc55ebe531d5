import { startGateway, type RunningGateway } from '@runpurse/conformance';
import { loadApp } from './renderer/app.ts';
import { openConnection, type Player, type PlayerOptions } from './renderer/play.ts';

export const app = loadApp();

/** A real gateway with a priced sandbox model, two priced tools, one denied, and caps on each run and session. */
export const startTestGateway = (more: object = {}): Promise<RunningGateway> =>
  startGateway({
    config: {
      providers: [
        { name: 'sandbox', kind: 'sandbox' },
        { name: 'theirs', kind: 'openai', base_url: 'http://127.0.0.1:9/v1', api_key: 'sk-theirs', models: ['forbidden'] },
      ],
      fallback_price: { input_mtok_usd: '1', output_mtok_usd: '1' },
      tools: [
        { name: 'customer_lookup', price_usd: '0.002' },
        { name: 'order_lookup', price_usd: '0.003' },
      ],
      policy: { tools: { deny: ['refund'] }, models: { deny: ['forbidden'] } },
      budgets: [
        { scope: 'run', id: '*', limit_usd: '0.5' },
        { scope: 'session', id: '*', limit_usd: '20' },
      ],
      rate: { requests_per_minute: 1000 },
      ...more,
    },
  });

export const connect = (gateway: RunningGateway, options?: PlayerOptions): Promise<Player> =>
  openConnection(app, { url: gateway.url, apiKey: gateway.apiKey }, options);

/** A chat completion of the built-in sandbox model, as a scenario asks for one. */
export const chat = (run_id: string, more: Readonly<Record<string, unknown>> = {}): Readonly<Record<string, unknown>> => ({
  run_id,
  model: 'sandbox/echo',
  messages: [{ role: 'user', content: 'Hello' }],
  max_tokens: 20,
  ...more,
});
