import { describe, expect, it } from '@jest/globals';
import type { Json, NodeData, TaskData } from './n8n.ts';
import { vendorCallsOf } from './vendors.ts';

const node = (type: string, parameters: Json = {}, more: Partial<NodeData> = {}): NodeData => ({ name: 'V', type, parameters, ...more });
const langchain = (type: string, parameters: Json = {}): NodeData => node(`@n8n/n8n-nodes-langchain.${type}`, parameters);
const put = (items: readonly Json[], counted?: readonly [input: unknown, output: unknown]): TaskData => ({
  data: { main: [items.map((json) => ({ json }))] },
  ...(counted && { metadata: { tokenUsage: { inputTokens: counted[0], outputTokens: counted[1] } } }),
});
const answer = (input: number, output: number): Json => ({
  model: 'gpt-x',
  error: null,
  usage: { prompt_tokens: input, completion_tokens: output },
});
const used = (input: number, output: number) => ({ status: 'completed', usage: { input_tokens: input, output_tokens: output } });
const unknown = { status: 'completed', usage: undefined };

describe('a node that calls a model itself', () => {
  it.each([
    ['openAi', 'text', 'message', 1],
    ['openAi', 'text', 'response', 1],
    ['openAi', 'text', 'classify', 0],
    ['openAi', 'image', 'edit', 1],
    ['openAi', 'audio', 'transcribe', 1],
    ['openAi', 'video', 'generate', 1],
    ['openAi', 'file', 'deleteFile', 0],
    ['openAi', 'conversation', 'create', 0],
    ['openAi', 'assistant', 'message', 1],
    ['openAi', 'assistant', 'deleteAssistant', 0],
    ['anthropic', 'document', 'analyze', 1],
    ['anthropic', 'prompt', 'improve', 1],
    ['anthropic', 'file', 'list', 0],
    ['googleGemini', 'video', 'generate', 1],
    ['googleGemini', 'video', 'download', 0],
    ['googleGemini', 'fileSearch', 'listStores', 0],
    ['ollama', 'image', 'analyze', 1],
    ['alibabaCloud', 'video', 'textToVideo', 1],
    ['minimax', 'audio', 'textToSpeech', 1],
    ['moonshot', 'image', 'analyze', 1],
    ['openAiTool', 'text', 'message', 1],
    ['agent', 'text', 'message', 0],
  ])('%s: %s/%s makes %i calls', (type, resource, operation, calls) => {
    expect(vendorCallsOf(langchain(type, { resource, operation }), put([{ content: 'hi' }]), false)).toEqual(calls === 1 ? [unknown] : []);
  });

  it.each<readonly [title: string, node: NodeData, task: TaskData, hasTools: boolean, calls: readonly object[]]>([
    ['parameters left at their defaults', langchain('openAi'), put([{}], [7, 3]), false, [used(7, 3)]],
    ['a node unknown here, of which n8n counted', node('other.ai'), put([{}], [7, 3]), false, [used(7, 3)]],
    ['a count that is none', langchain('openAi'), put([{}], [7, Number.NaN]), false, [unknown]],
    ['an n8n that does not count', langchain('openAi'), put([answer(7, 3)]), false, [used(7, 3)]],
    ['an n8n that does not count, and tools: earlier answers are lost', langchain('openAi'), put([answer(7, 3)]), true, [unknown]],
    ['tools: all rounds count, not the last answer', langchain('openAi'), put([answer(7, 3)], [17, 5]), true, [used(17, 5)]],
    ['answers that are all there', langchain('openAi'), put([answer(7, 3), answer(1, 2)], [8, 5]), true, [used(7, 3), used(1, 2)]],
    ['nothing put out', langchain('openAi'), put([]), false, [unknown]],
    ['a web search of the provider', langchain('anthropic', { options: { webSearch: true } }), put([{}], [7, 3]), false, [unknown]],
    [
      'a search that was switched off',
      langchain('alibabaCloud', { options: { enableSearch: false } }),
      put([{}], [7, 3]),
      false,
      [used(7, 3)],
    ],
    ['thoughts nobody counted', langchain('googleGemini'), put([{}], [7, 3]), false, [unknown]],
    ['no thoughts', langchain('googleGemini', { options: { thinkingBudget: 0 } }), put([{}], [7, 3]), false, [used(7, 3)]],
    [
      'an error in place of an item',
      langchain('openAi'),
      put([answer(7, 3), { error: 'no' }], [7, 3]),
      false,
      [used(7, 3), { status: 'failed', message: 'no' }],
    ],
    ['errors alone', langchain('openAi'), put([{ error: 'no' }]), false, [{ status: 'failed', message: 'no' }]],
    [
      'an output for errors',
      { ...langchain('openAi'), onError: 'continueErrorOutput' },
      { data: { main: [[{ json: answer(7, 3) }], [{ json: { n: 1, error: 'no' } }]] } },
      false,
      [used(7, 3), { status: 'failed', message: 'no' }],
    ],
    [
      'an error of the whole, its input passed on',
      langchain('openAi'),
      { ...put([answer(9, 9)]), error: { message: 'no' } },
      false,
      [{ status: 'failed', message: 'no' }],
    ],
    [
      'an error of the whole after some calls',
      langchain('openAi'),
      { ...put([], [7, 3]), error: { message: 'no' } },
      false,
      [used(7, 3), { status: 'failed', message: 'no' }],
    ],
  ])('with %s', (_, vendor, task, hasTools, calls) => {
    expect(vendorCallsOf(vendor, task, hasTools)).toMatchObject(calls);
    expect(vendorCallsOf(vendor, task, hasTools)).toHaveLength(calls.length);
  });

  it('reads each provider’s own way of telling usage', () => {
    const anthropic = { usage: { input_tokens: 5, cache_read_input_tokens: 2, cache_creation_input_tokens: 3, output_tokens: 4 } };
    const gemini = { usageMetadata: { promptTokenCount: 9, cachedContentTokenCount: 4, candidatesTokenCount: 3, thoughtsTokenCount: 2 } };
    const read = (type: string, json: Json) => vendorCallsOf(langchain(type), put([json]), false)[0]?.usage;
    expect(read('anthropic', anthropic)).toMatchObject({
      input_tokens: 5,
      cache_read_tokens: 2,
      cache_write_5m_tokens: 3,
      output_tokens: 4,
    });
    expect(read('googleGemini', gemini)).toMatchObject({ input_tokens: 5, cache_read_tokens: 4, output_tokens: 5, reasoning_tokens: 2 });
    expect(read('ollama', { prompt_eval_count: 7, eval_count: 3 })).toMatchObject({ input_tokens: 7, output_tokens: 3 });
  });
});
