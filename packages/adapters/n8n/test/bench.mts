import { join } from 'node:path';
import { measureAddedTime, type AddedTime, type AddedTimeOptions } from '@runpurse/conformance';
import { startN8n, type HooksFile, type WorkflowFile } from './n8n.mts';
import { chainOf, nodeOf, type NodeSpec } from './workflows.mts';

const LANGCHAIN = '@n8n/n8n-nodes-langchain.';
const HOOKS = join(import.meta.dirname, '..', '..', 'n8n-hooks', 'src', 'hooks.ts');

/**
 * What a workflow takes longer: with Runpurse's chat model for n8n's own at the same gateway, with the hooks file around a
 * model at its provider, and with Spend authorize and settle for two nodes that do nothing; see `measureAddedTime`.
 */
export function benchAdapter(options?: AddedTimeOptions): Promise<AddedTime> {
  return measureAddedTime(
    'n8n',
    async ({ gatewayUrl, apiKey, carriedUrl, directUrl, compare }) => {
      const n8n = await startN8n();
      const credential = { baseUrl: gatewayUrl, apiKey };
      let executions = 0;
      const run = (workflow: WorkflowFile, hooks?: HooksFile) => async () => {
        const { status, error } = await n8n.execute({ workflow, executionId: `bench-${(executions += 1)}`, hooks });
        if (status !== 'success') throw new Error(error?.message ?? status);
      };
      const chainWith = (model: object & { readonly name: string; readonly type: string }): WorkflowFile => {
        const ask: NodeSpec = { name: 'Ask', type: `${LANGCHAIN}chainLlm`, version: 1.7, parameters: { promptType: 'define', text: 'hi' } };
        const base = chainOf(credential, [ask]);
        const toChain = { ai_languageModel: [[{ node: 'Ask', type: 'ai_languageModel', index: 0 }]] };
        return { ...base, nodes: [...base.nodes, model], connections: { ...base.connections, [model.name]: toChain } };
      };
      const openAiAt = (baseURL: string) => ({
        ...nodeOf(credential, {
          name: 'Model',
          type: `${LANGCHAIN}lmChatOpenAi`,
          version: 1.2,
          parameters: { model: { __rl: true, mode: 'id', value: 'model' }, options: { baseURL, maxTokens: 100 } },
        }),
        credentials: { openAiApi: { id: JSON.stringify({ apiKey, url: baseURL }), name: 'OpenAI' } },
      });
      const ours = nodeOf(credential, {
        name: 'Model',
        type: 'n8n-nodes-runpurse.runpurseChatModel',
        parameters: { model: 'model', options: { maxTokens: 100 } },
      });
      const nothing = (name: string): NodeSpec => ({ name, type: 'n8n-nodes-base.noOp' });
      const spend = (operation: string): NodeSpec => ({ name: operation, parameters: { resource: 'spend', operation, tool: 'lookup' } });
      const environment = {
        RUNPURSE_URL: gatewayUrl,
        RUNPURSE_KEY: apiKey,
        RUNPURSE_FAILURE_POLICY: '',
        RUNPURSE_STEPS: '',
        RUNPURSE_INSTANCE: '',
      };
      try {
        return {
          carriedModelCallMs: await compare(run(chainWith(openAiAt(carriedUrl))), run(chainWith(ours))),
          directModelCallMs: await compare(
            run(chainWith(openAiAt(directUrl))),
            run(chainWith(openAiAt(directUrl)), { path: HOOKS, environment }),
          ),
          toolCallMs: await compare(
            run(chainOf(credential, [nothing('a'), nothing('b')])),
            run(chainOf(credential, [spend('authorize'), spend('settle')])),
          ),
        };
      } finally {
        await n8n.stop();
      }
    },
    options,
  );
}

if (import.meta.main) console.log(await benchAdapter({ rounds: 30, warmUp: 5 }));
