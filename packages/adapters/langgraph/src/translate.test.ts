import { describe, expect, it } from '@jest/globals';
import { answerOf, attemptOf, failureOf, isAbort, isBubbleUp, isCancellation, modelOf, runOf } from './translate.ts';

describe('usage', () => {
  const message = (usage_metadata: object | undefined) => ({
    generations: [[{ message: { usage_metadata, response_metadata: { model_name: 'gpt-answered' } } }]],
  });

  it.each([
    [
      'cached and audio tokens are no plain input',
      { input_tokens: 100, output_tokens: 20, input_token_details: { cache_read: 60, cache_creation: 10, audio: 5 } },
      { input_tokens: 25, cache_read_tokens: 60, cache_write_5m_tokens: 10, audio_input_tokens: 5, output_tokens: 20 },
    ],
    [
      'reasoning stays part of the output, audio does not',
      { input_tokens: 1, output_tokens: 20, output_token_details: { reasoning: 8, audio: 3 } },
      { output_tokens: 17, reasoning_tokens: 8, audio_output_tokens: 3 },
    ],
    [
      'a count of 0 that LangChain leaves out is read off the total',
      { input_tokens: 7, total_tokens: 7 },
      { input_tokens: 7, output_tokens: 0 },
    ],
    [
      'a 0 that the merging of chunks made of nothing is unknown',
      { input_tokens: 7, output_tokens: 0, total_tokens: 0 },
      { input_tokens: 7, output_tokens: null },
    ],
    ['so it is of the input', { input_tokens: 0, output_tokens: 5, total_tokens: 0 }, { input_tokens: null, output_tokens: 5 }],
    ['a 0 beside a total is what the total leaves', { input_tokens: 7, output_tokens: 0, total_tokens: 12 }, { output_tokens: 5 }],
    ['nothing but 0 is no statement', { input_tokens: 0, output_tokens: 0, total_tokens: 0 }, undefined],
    ['half a statement leaves the other half unknown', { input_tokens: 7 }, { input_tokens: 7, output_tokens: null }],
    ['details without counts are no statement', { input_token_details: { audio: undefined } }, undefined],
    ['no usage is unknown, not 0', undefined, undefined],
  ])('%s', (_, stated, expected) => {
    const { usage } = answerOf(message(stated));
    if (expected === undefined) expect(usage).toBeUndefined();
    else expect(usage).toMatchObject(expected);
  });

  it('of a text model is read from its summary', () => {
    expect(answerOf({ generations: [[{}]], llmOutput: { tokenUsage: { promptTokens: 3, completionTokens: 4 } } })).toMatchObject({
      model: undefined,
      usage: { input_tokens: 3, output_tokens: 4 },
    });
  });

  it('comes with the model that answered', () => {
    expect(answerOf(message(undefined)).model).toBe('gpt-answered');
  });
});

describe('a run', () => {
  it.each([
    [
      'is LangChain’s root run in the session of its thread',
      'LangGraph',
      { thread_id: 't' },
      {},
      { runId: 'root', sessionId: 't', agentId: undefined },
    ],
    ['is done by the agent it is named after', 'support', {}, {}, { agentId: 'support', sessionId: undefined }],
    [
      'takes defaults before what LangGraph knows',
      'support',
      { thread_id: 't' },
      { agentId: 'a', sessionId: 's' },
      { agentId: 'a', sessionId: 's' },
    ],
    [
      'takes what its invocation states before all',
      'support',
      { thread_id: 't', runpurse: { agentId: 'b', runId: 'r' } },
      { agentId: 'a' },
      { agentId: 'b', runId: 'r', sessionId: 't' },
    ],
    ['does without a statement that is none', undefined, { runpurse: 'text' }, {}, { runId: 'root', sessionId: undefined }],
    ['is in the session of a thread that is a number', undefined, { thread_id: 7 }, {}, { sessionId: '7' }],
  ])('%s', (_, name, metadata, defaults, expected) => {
    expect(runOf('root', name, metadata, defaults)).toMatchObject(expected);
  });
});

it.each([
  ['', {}, 1],
  ['talk:1', {}, 1],
  ['talk:1', { 'talk:1': 1 }, 2],
  ['outer:1|talk:2', { 'outer:1': 1, 'outer:1|talk:2': 1 }, 3],
  ['outer:1|talk:2', { 'talk:2': 1, 'outer:2': 1 }, 1],
])('a call at %j after failures %j is attempt %i', (namespace, failures, attempt) => {
  expect(attemptOf(namespace, new Map(Object.entries(failures)))).toBe(attempt);
});

it('the worst case of a call is bounded by its bytes and its output limit, whatever the parameter is called', () => {
  expect(modelOf([['ü']], { invocation_params: { model: 'm', max_completion_tokens: 9 } }, undefined)).toEqual({
    model: 'm',
    maxOutputTokens: 9,
    inputTokensMax: Buffer.byteLength('[[["ü"]],{"model":"m","max_completion_tokens":9}]'),
  });
  expect(modelOf([], { invocation_params: { max_output_tokens: 8 } }, { ls_model_name: 'n' })).toMatchObject({
    model: 'n',
    maxOutputTokens: 8,
  });
  expect(modelOf([], { invocation_params: { max_tokens: 5, max_completion_tokens: 9, n: 3 } }, undefined).maxOutputTokens).toBe(27);
  expect(modelOf([], undefined, undefined)).toMatchObject({ model: 'unknown', maxOutputTokens: undefined });
});

const throwing = (): never => {
  throw new Error('a getter that throws');
};

it.each([
  [new DOMException('This operation was aborted', 'AbortError'), { isCancellation: true, isAbort: false }],
  [new Error('Abort'), { isCancellation: false, isAbort: true }],
  [new Error('AbortError'), { isCancellation: false, isAbort: true }],
  [new Error('Abortive attempt'), { isCancellation: false, isAbort: false }],
  ['Abort', { isCancellation: false, isAbort: false }],
  [Object.defineProperty({}, 'name', { get: throwing }), { isCancellation: false, isAbort: false }],
])('what %s says of its end: %j', (error, expected) => {
  expect({ isCancellation: isCancellation(error), isAbort: isAbort(error) }).toEqual(expected);
});

it('a graph that stops on purpose is told from one that fails', async () => {
  const { GraphInterrupt, GraphRecursionError } = await import('@langchain/langgraph');
  expect(isBubbleUp(new GraphInterrupt([]))).toBe(true);
  expect(isBubbleUp(new GraphRecursionError('too deep'))).toBe(false);
  expect(isBubbleUp(undefined)).toBe(false);
});

it('what LangChain keeps beside a message does not count as input', async () => {
  const { AIMessage, HumanMessage, ToolMessage } = await import('@langchain/core/messages');
  const call = { name: 'lookup', args: { q: 'x'.repeat(100) }, id: 'call_1', type: 'tool_call' as const };
  const raw = { id: 'call_1', type: 'function' as const, function: { name: 'lookup', arguments: JSON.stringify(call.args) } };
  const bytesOf = (kept: object) =>
    modelOf([[new HumanMessage('ü'.repeat(50)), new AIMessage({ content: '', tool_calls: [call], ...kept })]], undefined, undefined)
      .inputTokensMax;
  const bare = bytesOf({});
  expect(bare).toBeGreaterThan(200);
  expect(
    bytesOf({ response_metadata: { model_name: 'm'.repeat(500) }, usage_metadata: { input_tokens: 1, output_tokens: 1, total_tokens: 2 } }),
  ).toBe(bare);
  expect(bytesOf({ additional_kwargs: { tool_calls: [raw] } })).toBe(bare);
  expect(bytesOf({ content: 'y'.repeat(70) })).toBe(bare + 70);
  const answerWith = (artifact: object | undefined) =>
    modelOf([[new ToolMessage({ content: 'found', tool_call_id: 'call_1', ...(artifact && { artifact }) })]], undefined, undefined);
  expect(answerWith({ docs: 'x'.repeat(500) })).toEqual(answerWith(undefined));
});

it.each([
  [
    'a provider that answered with an error bills nothing',
    Object.assign(new Error('overloaded'), { status: 503 }),
    { usage: { input_tokens: 0, output_tokens: 0 } },
  ],
  ['a connection that broke leaves the usage unknown', new Error('socket hang up'), { usage: undefined }],
  ['a cancelled call is aborted, its usage unknown', new DOMException('aborted', 'AbortError'), { status: 'aborted' }],
])('%s', (_, error, expected) => {
  expect(failureOf(error)).toEqual({ error, ...expected });
});
