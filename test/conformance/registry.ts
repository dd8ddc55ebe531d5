import type { AdapterHarness } from './harness.ts';

/** The adapters of this repository. Adding one is adding a line; `npm run conformance` plays them all. */
export const ADAPTERS: readonly { readonly name: string; readonly load: () => Promise<{ readonly harness: AdapterHarness }> }[] = [
  { name: 'toy', load: () => import('./toy/harness.ts') },
  { name: 'langgraph', load: () => import('../../packages/adapters/langgraph/test/harness.ts') },
  { name: 'openai-agents', load: () => import('../../packages/adapters/openai-agents/test/harness.ts') },
  { name: 'ai-sdk', load: () => import('../../packages/adapters/ai-sdk/test/harness.ts') },
  { name: 'crewai', load: () => import('../../packages/adapters/crewai/test/harness.ts') },
  { name: 'zapier', load: () => import('../../packages/adapters/zapier/test/harness.ts') },
  { name: 'mastra', load: () => import('../../packages/adapters/mastra/test/harness.ts') },
  { name: 'n8n', load: () => import('../../packages/adapters/n8n/test/harness.mts') },
  { name: 'make', load: () => import('../../packages/adapters/make/test/harness.ts') },
];
