import { startGateway, type RunningGateway } from '@runpurse/conformance';
import type { WorkflowFile } from '../../n8n/test/n8n.mts';
import { chainOf, credentialOf, nodeOf, type NodeSpec } from '../../n8n/test/workflows.mts';
import { startProvider, type Provider } from './provider.mts';

/** A gateway and the provider behind it, and workflows of n8n's own nodes that call either. */
export interface Stage {
  readonly gateway: RunningGateway;
  readonly provider: Provider;
  stop(): Promise<void>;
}

const PRICE = { input_mtok_usd: '2', output_mtok_usd: '10' };

export async function setStage(): Promise<Stage> {
  const provider = await startProvider();
  const gateway = await startGateway({
    config: {
      rate: { requests_per_minute: 10_000 },
      providers: [
        { name: 'openai', kind: 'openai', base_url: `${provider.url}/v1`, api_key: 'sk-provider', models: ['gpt-x'] },
        { name: 'anthropic', kind: 'anthropic', base_url: provider.url, api_key: 'sk-provider', models: ['claude-x'] },
        { name: 'sandbox', kind: 'sandbox', scripts: { m: [{ text: 'hi', usage: { input_tokens: 1000, output_tokens: 100 } }] } },
      ],
      prices: [
        { provider: 'openai', model: 'gpt-x', ...PRICE, cache_read_mtok_usd: '1' },
        { provider: 'anthropic', model: 'claude-x', ...PRICE },
        { provider: 'google', model: 'gemini-x', ...PRICE },
        { provider: 'ollama', model: 'llama-x', ...PRICE },
        { provider: 'sandbox', model: 'm', ...PRICE },
      ],
      tools: [{ name: 'order_lookup', price_usd: '0.001' }],
      budgets: [
        { name: 'per-workflow', scope: 'workflow', id: 'dear', limit_usd: '0.003' },
        { name: 'pausing', scope: 'run', id: 'capped', limit_usd: '0.001', action: 'pause' },
      ],
    } as never,
  });
  return {
    gateway,
    provider,
    async stop() {
      provider.stop();
      await gateway.remove();
    },
  };
}

export const edit: NodeSpec = { name: 'Edit', type: 'n8n-nodes-base.set', version: 3.4, parameters: { assignments: { assignments: [] } } };
export const chain: NodeSpec = {
  name: 'Chain',
  type: '@n8n/n8n-nodes-langchain.chainLlm',
  version: 1.7,
  parameters: { promptType: 'define', text: 'Where is it?' },
};
/** A model as it is chosen in a node. */
export const listed = (value: string): object => ({ __rl: true, mode: 'id', value });

/** A credential as the tests' n8n stores it: its data as JSON in place of its id. */
export function credential(type: string, data: object, name = type): object {
  return { credentials: { [type]: { id: JSON.stringify(data), name } } };
}

/** A workflow of n8n's own nodes alone; its chain's model is at the provider unless `openAi` or `model` say otherwise. */
export function foreign(
  id: string,
  { gateway, provider }: Pick<Stage, 'gateway' | 'provider'>,
  nodes: readonly NodeSpec[] = [edit, chain],
  { openAi = {}, model = {} }: { readonly openAi?: object; readonly model?: object } = {},
): WorkflowFile {
  const base = chainOf(credentialOf(gateway), nodes, { id });
  if (!nodes.some(({ name }) => name === chain.name)) return base;
  const gpt = {
    ...nodeOf(credentialOf(gateway), {
      name: 'GPT',
      type: '@n8n/n8n-nodes-langchain.lmChatOpenAi',
      version: 1.2,
      parameters: { model: listed('gpt-x'), options: { maxRetries: 0 } },
    }),
    ...credential('openAiApi', { apiKey: 'sk-x', url: `${provider.url}/v1`, ...openAi }, 'OpenAI'),
    ...model,
  };
  const connections = { ...base.connections, GPT: { ai_languageModel: [[{ node: 'Chain', type: 'ai_languageModel', index: 0 }]] } };
  return { ...base, nodes: [...base.nodes, gpt], connections };
}
