import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from '@jest/globals';
import { SANDBOX_ATTEMPT_HEADER, startSandbox, type Sandbox, type SandboxScripts } from './index.ts';

/** Replies are read as loosely as a client reads them. */
type Loose = { [key: string]: Loose } & Loose[] & string & number & null;

const NOW = Date.parse('2026-01-02T03:04:05Z');
let sandbox: Sandbox;
afterEach(() => sandbox.close());

async function start(scripts?: SandboxScripts | string | Record<string, unknown>): Promise<void> {
  sandbox = await startSandbox({ scripts: scripts as SandboxScripts, now: () => NOW });
}

async function post(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`${sandbox.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
}

async function json(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Loose> {
  return (await (await post(path, body, headers)).json()) as Loose;
}

/** The data of each server-sent event; `[DONE]` as it stands. */
async function events(path: string, body: unknown): Promise<Loose[]> {
  const text = await (await post(path, body)).text();
  return text
    .split('\n\n')
    .filter((block) => block !== '')
    .map((block) => block.replace(/^event: .*\n/, '').replace(/^data: /, ''))
    .map((data) => (data === '[DONE]' ? data : JSON.parse(data)) as Loose);
}

const hello = [{ role: 'user', content: 'hello there' }];

describe('the echo', () => {
  it('answers every wire with what it heard and counts usage from the request', async () => {
    await start();
    const chat = await json('/chat/completions', { model: 'echo', messages: hello });
    expect(chat).toMatchObject({
      object: 'chat.completion',
      created: NOW / 1000,
      model: 'echo',
      choices: [{ index: 0, message: { role: 'assistant', content: 'Sandbox heard: hello there' }, finish_reason: 'stop' }],
      usage: { prompt_tokens: 2, completion_tokens: 4, total_tokens: 6 },
    });
    expect(await json('/responses', { model: 'echo', input: 'hello there' })).toMatchObject({
      object: 'response',
      status: 'completed',
      output: [{ type: 'message', content: [{ type: 'output_text', text: 'Sandbox heard: hello there' }] }],
      usage: { input_tokens: 2, output_tokens: 4, total_tokens: 6 },
    });
    expect(await json('/messages', { model: 'echo', max_tokens: 100, messages: hello })).toMatchObject({
      type: 'message',
      content: [{ type: 'text', text: 'Sandbox heard: hello there' }],
      stop_reason: 'end_turn',
      usage: { input_tokens: 2, output_tokens: 4 },
    });
  });

  it('answers the same request with the same bytes', async () => {
    await start();
    const body = { model: 'anything', messages: hello };
    const first = await (await post('/chat/completions', body)).text();
    expect(await (await post('/chat/completions', body)).text()).toBe(first);
  });

  it('lists itself and the scripted models', async () => {
    await start({ planner: [{ text: 'ok' }] });
    const list = (await (await fetch(`${sandbox.url}/models`)).json()) as Loose;
    expect([...(list['data'] ?? [])].map((model) => model['id'])).toEqual(['echo', 'planner']);
  });

  it.each([
    [{ max_tokens: 2 }, 'Sandbox heard:'],
    [{ max_completion_tokens: 3 }, 'Sandbox heard: hello'],
  ])('stops at the output limit %j and says so', async (limit, content) => {
    await start();
    expect(await json('/chat/completions', { model: 'echo', messages: hello, ...limit })).toMatchObject({
      choices: [{ message: { content }, finish_reason: 'length' }],
      usage: { completion_tokens: Object.values(limit)[0] },
    });
  });
});

describe('streams', () => {
  it('streams chat completions with the usage chunk only when asked for', async () => {
    await start();
    const plain = await events('/chat/completions', { model: 'echo', messages: hello, stream: true });
    expect(plain.at(-1)).toBe('[DONE]');
    expect(plain.some((event) => event !== ('[DONE]' as Loose) && event['usage'] !== undefined)).toBe(false);
    const asked = await events('/chat/completions', {
      model: 'echo',
      messages: hello,
      stream: true,
      stream_options: { include_usage: true },
    });
    expect(asked.at(-2)).toMatchObject({ choices: [], usage: { prompt_tokens: 2, completion_tokens: 4 } });
    expect(asked[0]).toMatchObject({ usage: null, choices: [{ delta: { role: 'assistant' } }] });
    const text = plain.slice(0, -1).map((event) => event['choices']?.[0]?.['delta']?.['content'] ?? '');
    expect(text.join('')).toBe('Sandbox heard: hello there');
  });

  it('streams the responses API in numbered events that end with the whole response', async () => {
    await start({ m: [{ text: 'let me look', tool_calls: [{ name: 'lookup', arguments: { id: 7 } }] }] });
    const all = await events('/responses', { model: 'm', input: 'x', stream: true });
    expect(all.map((event) => event['sequence_number'])).toEqual(all.map((_, index) => index));
    expect(all.map((event) => event['type'])).toEqual([
      'response.created',
      'response.in_progress',
      'response.output_item.added',
      'response.content_part.added',
      'response.output_text.delta',
      'response.output_text.done',
      'response.content_part.done',
      'response.output_item.done',
      'response.output_item.added',
      'response.function_call_arguments.delta',
      'response.function_call_arguments.done',
      'response.output_item.done',
      'response.completed',
    ]);
    expect(all.at(-1)?.['response']).toMatchObject({
      output: [{ type: 'message' }, { type: 'function_call', name: 'lookup', arguments: '{"id":7}' }],
      usage: { output_tokens: 5 },
    });
  });

  it('streams messages in the order of Anthropic, usage at both ends', async () => {
    await start({
      m: [
        {
          text: 'hm',
          tool_calls: [{ name: 'lookup', arguments: { id: 7 } }],
          usage: { input_tokens: 30, cache_read_tokens: 9, output_tokens: 12 },
        },
      ],
    });
    const all = await events('/messages', { model: 'm', max_tokens: 50, messages: hello, stream: true });
    expect(all.map((event) => event['type'])).toEqual([
      'message_start',
      'content_block_start',
      'ping',
      'content_block_delta',
      'content_block_stop',
      'content_block_start',
      'content_block_delta',
      'content_block_stop',
      'message_delta',
      'message_stop',
    ]);
    expect(all[0]?.['message']?.['usage']).toMatchObject({ input_tokens: 30, cache_read_input_tokens: 9 });
    expect(all.at(-2)).toMatchObject({ delta: { stop_reason: 'tool_use' }, usage: { output_tokens: 12 } });
  });
});

describe('scripts', () => {
  const agent = {
    agent: [
      { tool_calls: [{ name: 'customer_lookup', arguments: { id: 492 } }], usage: { input_tokens: 1200, output_tokens: 40 } },
      [{ error: { status: 503, message: 'try again', headers: { 'retry-after': '1' } } }, { text: 'second try' }],
      { text: 'done' },
    ],
  };
  const said = { role: 'assistant', content: 'x' };

  it('takes the turn from the assistant messages before it', async () => {
    await start(agent);
    const first = await json('/chat/completions', { model: 'agent', messages: hello });
    expect(first['choices']?.[0]).toMatchObject({
      finish_reason: 'tool_calls',
      message: { content: null, tool_calls: [{ type: 'function', function: { name: 'customer_lookup', arguments: '{"id":492}' } }] },
    });
    expect(first['usage']).toMatchObject({ prompt_tokens: 1200, completion_tokens: 40 });
    const third = await json('/chat/completions', { model: 'agent', messages: [...hello, said, said, hello[0], said] });
    expect(third['choices']?.[0]?.['message']?.['content']).toBe('done');
  });

  it('takes the reply of a turn from the attempt the gateway states', async () => {
    await start(agent);
    const body = { model: 'agent', messages: [...hello, said] };
    const failed = await post('/chat/completions', body);
    expect(failed.status).toBe(503);
    expect(failed.headers.get('retry-after')).toBe('1');
    expect(await failed.json()).toMatchObject({ error: { message: 'try again', type: 'server_error' } });
    for (const attempt of ['2', '3']) {
      const retried = await json('/chat/completions', body, { [SANDBOX_ATTEMPT_HEADER]: attempt });
      expect(retried['choices']?.[0]?.['message']?.['content']).toBe('second try');
    }
  });

  it('repeats the last turn past its end', async () => {
    await start(agent);
    const long = await json('/chat/completions', {
      model: 'agent',
      messages: [...hello, ...Array.from({ length: 9 }, () => [said, hello[0]]).flat()],
    });
    expect(long['choices']?.[0]?.['message']?.['content']).toBe('done');
  });

  it('chooses a case by the last user message and counts its turns from there', async () => {
    await start({ m: { cases: [{ prompt_contains: 'refund', turns: [{ text: 'one' }, { text: 'two' }] }], turns: [{ text: 'default' }] } });
    const ask = async (messages: unknown[]) =>
      (await json('/chat/completions', { model: 'm', messages }))['choices']?.[0]?.['message']?.['content'];
    expect(await ask(hello)).toBe('default');
    const refund = { role: 'user', content: [{ type: 'text', text: 'a refund, please' }] };
    expect(await ask([...hello, said, refund])).toBe('one');
    expect(await ask([...hello, said, refund, said, { role: 'tool', tool_call_id: 'c', content: 'r' }])).toBe('two');
  });

  it('counts one turn for parallel calls, on the responses wire and for Anthropic tool results', async () => {
    await start({ m: [{ text: 'zero' }, { text: 'one' }, { text: 'two' }] });
    const call = { type: 'function_call', call_id: 'c', name: 'f', arguments: '{}' };
    const result = { type: 'function_call_output', call_id: 'c', output: 'r' };
    const parallel = await json('/responses', { model: 'm', input: [hello[0], call, call, result, result] });
    expect(parallel['output']?.[0]?.['content']?.[0]?.['text']).toBe('one');
    const continued = await json('/responses', { model: 'm', input: [result], previous_response_id: parallel['id'] });
    expect(continued['output']?.[0]?.['content']?.[0]?.['text']).toBe('two');
    const toolResult = { role: 'user', content: [{ type: 'tool_result', tool_use_id: 't', content: 'r' }] };
    const anthropic = await json('/messages', { model: 'm', max_tokens: 9, messages: [...hello, said, toolResult] });
    expect(anthropic['content']?.[0]?.['text']).toBe('one');
  });

  it.each([
    [1000, 400, 'stop'],
    [100, 100, 'length'],
  ])('cuts 400 scripted output tokens at max_tokens %i to %i', async (limit, output, finish) => {
    await start({ m: [{ text: 'a b c d e f g h', usage: { output_tokens: 400, reasoning_tokens: 300 } }] });
    const reply = await json('/chat/completions', { model: 'm', messages: hello, max_tokens: limit });
    expect(reply['usage']).toMatchObject({
      completion_tokens: output,
      completion_tokens_details: { reasoning_tokens: Math.min(300, output) },
    });
    expect(reply['choices']?.[0]).toMatchObject({
      finish_reason: finish,
      message: { content: finish === 'stop' ? 'a b c d e f g h' : 'a b' },
    });
    expect(await json('/responses', { model: 'm', input: 'x', max_output_tokens: limit })).toMatchObject({
      status: finish === 'stop' ? 'completed' : 'incomplete',
      usage: { output_tokens: output },
    });
    expect(await json('/messages', { model: 'm', messages: hello, max_tokens: limit })).toMatchObject({
      stop_reason: finish === 'stop' ? 'end_turn' : 'max_tokens',
      usage: { output_tokens: output },
    });
  });

  it('charges n choices n times', async () => {
    await start({ m: [{ text: 'a b', usage: { output_tokens: 7 } }] });
    const reply = await json('/chat/completions', { model: 'm', messages: hello, n: 3 });
    expect(reply['choices']).toHaveLength(3);
    expect(reply['usage']).toMatchObject({ completion_tokens: 21 });
  });

  it('leaves usage out where the script says null, on every wire, streamed or not', async () => {
    await start({ m: [{ text: 'a', usage: null }] });
    for (const stream of [false, true]) {
      for (const [path, body] of [
        ['/chat/completions', { messages: hello, stream_options: { include_usage: true } }],
        ['/messages', { messages: hello, max_tokens: 9 }],
      ] as const) {
        const text = await (await post(path, { model: 'm', stream, ...body })).text();
        expect(text).not.toMatch(/_tokens"/);
      }
    }
    expect((await json('/responses', { model: 'm', input: 'x' }))['usage']).toBeNull();
  });

  it('says cached tokens the way each wire counts them, and the model that answered', async () => {
    await start({
      m: [{ text: 'a', model: 'm-2026', usage: { input_tokens: 10, cache_read_tokens: 90, cache_write_5m_tokens: 5, output_tokens: 1 } }],
    });
    expect(await json('/chat/completions', { model: 'm', messages: hello })).toMatchObject({
      model: 'm-2026',
      usage: { prompt_tokens: 105, prompt_tokens_details: { cached_tokens: 90 } },
    });
    expect(await json('/messages', { model: 'm', max_tokens: 9, messages: hello })).toMatchObject({
      model: 'm-2026',
      usage: { input_tokens: 10, cache_read_input_tokens: 90, cache_creation_input_tokens: 5 },
    });
  });

  it.each([
    ['stream', true],
    ['plain reply', false],
  ])('breaks a %s off in its middle', async (_, stream) => {
    await start({ m: [{ text: 'a b c d e f g h i j k l', error: { after_chunks: 1 } }] });
    const response = await post('/chat/completions', { model: 'm', messages: hello, stream });
    expect(response.status).toBe(200);
    await expect(response.text()).rejects.toThrow();
  });

  it.each(['/chat/completions', '/messages', '/responses'])(
    'breaks a stream of %s off before its end when it has less content',
    async (path) => {
      await start({ m: [{ text: 'a', error: { after_chunks: 99 } }] });
      const response = await post(path, { model: 'm', messages: hello, input: 'x', max_tokens: 9, stream: true });
      await expect(response.text()).rejects.toThrow();
    },
  );

  it('reports an error inside a stream', async () => {
    await start({ m: [{ text: 'a b c d e f', error: { after_chunks: 1, how: 'event', message: 'overloaded' } }] });
    const all = await events('/messages', { model: 'm', messages: hello, max_tokens: 9, stream: true });
    expect(all.at(-1)).toEqual({ type: 'error', error: { type: 'server_error', message: 'overloaded' } });
  });

  it('waits as long as it is told before the first byte', async () => {
    await start({ m: [{ text: 'a', delay_ms: 80 }] });
    const before = performance.now();
    await json('/chat/completions', { model: 'm', messages: hello });
    expect(performance.now() - before).toBeGreaterThanOrEqual(75);
  });

  it('reads scripts from a file and names what is wrong in it', async () => {
    const file = join(mkdtempSync(join(tmpdir(), 'sandbox-')), 'scripts.yaml');
    writeFileSync(file, 'm:\n  - text: from the file\n');
    await start(file);
    expect((await json('/chat/completions', { model: 'm', messages: hello }))['choices']?.[0]?.['message']?.['content']).toBe(
      'from the file',
    );
    writeFileSync(file, 'm:\n  - txt: oops\n');
    await expect(startSandbox({ scripts: file })).rejects.toThrow(/scripts\.yaml/);
  });
});

describe('embeddings', () => {
  it('gives equal texts equal unit vectors, as numbers or base64', async () => {
    await start();
    const reply = await json('/embeddings', { model: 'e', input: ['a b', 'c', 'a b'], dimensions: 16 });
    const [first, second, third] = [...(reply['data'] ?? [])].map((row) => row['embedding'] as unknown as number[]);
    expect(first).toEqual(third);
    expect(first).not.toEqual(second);
    expect(Math.hypot(...(first ?? []))).toBeCloseTo(1, 5);
    expect(reply['usage']).toEqual({ prompt_tokens: 5, total_tokens: 5 });
    const encoded = await json('/embeddings', { model: 'e', input: 'a b', dimensions: 16, encoding_format: 'base64' });
    const bytes = Buffer.from(String(encoded['data']?.[0]?.['embedding']), 'base64');
    expect(bytes.readFloatLE(0)).toBeCloseTo(first?.[0] ?? 0, 6);
  });
});

describe('mistakes', () => {
  it.each([
    ['/chat/completions', '{', 400],
    ['/chat/completions', '[]', 400],
    ['/chat/completions', '{"model":"m"}', 400],
    ['/chat/completions', '{"messages":[]}', 400],
    ['/embeddings', '{"model":"m"}', 400],
    ['/nowhere', '{}', 404],
  ])('answers %s with %s by %i', async (path, body, status) => {
    await start();
    const response = await post(path, body);
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({ error: { type: 'invalid_request_error' } });
  });

  it('words errors as Anthropic does on its wire', async () => {
    await start({ m: [{ error: { status: 529, type: 'overloaded_error', message: 'Overloaded' } }] });
    const response = await post('/messages', { model: 'm', max_tokens: 9, messages: hello });
    expect(response.status).toBe(529);
    expect(await response.json()).toEqual({ type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } });
  });
});
