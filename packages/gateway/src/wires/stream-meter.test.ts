import { describe, expect, it } from '@jest/globals';
import { createRandom } from '../pricing/fixtures/random.ts';
import { fixture, fixtureNames, type FixtureName } from './fixtures/index.ts';
import { WIRES } from './index.ts';
import type { ReplyFacts, Wire } from './wire.ts';

function wireOf(name: string): Wire {
  const wire = [...WIRES.values()].find((candidate) => candidate.name === name.split('.')[0]);
  if (wire === undefined) throw new Error(`no wire of ${name}`);
  return wire;
}

/** Plays a stream in the given pieces; what is handed on, and what the meter makes of it. */
function play(wire: Wire, pieces: readonly Uint8Array[], hideUsage: boolean): { readonly handedOn: Buffer; readonly facts: ReplyFacts } {
  const meter = wire.meterStream({ hideUsage });
  const parts: Uint8Array[] = [];
  for (const piece of pieces) {
    const part = meter.push(piece);
    if (part !== undefined) parts.push(part);
  }
  const rest = meter.flush();
  if (rest !== undefined) parts.push(rest);
  return { handedOn: Buffer.concat(parts), facts: meter.facts() };
}

function cut(bytes: Buffer, at: readonly number[]): Buffer[] {
  const bounds = [0, ...[...at].sort((left, right) => left - right), bytes.length];
  return bounds.slice(1).map((end, index) => bytes.subarray(bounds[index], end));
}

const STREAMS = fixtureNames().filter((name) => name.endsWith('.sse'));
const CRLF = (text: string): string => text.replaceAll('\n', '\r\n');
const CR = (text: string): string => text.replaceAll('\n', '\r');
const SEED = Number(process.env['RUNPURSE_SEED'] ?? Date.now() % 1_000_000);

describe('a stream, whatever it holds', () => {
  it.each(STREAMS)('%s passes byte for byte', (name) => {
    const bytes = Buffer.from(fixture(name));
    expect(play(wireOf(name), [bytes], false).handedOn.equals(bytes)).toBe(true);
  });

  it.each(STREAMS)(`%s is metered the same wherever it is cut (seed ${SEED})`, (name) => {
    const random = createRandom(SEED);
    for (const text of [fixture(name), CRLF(fixture(name)), CR(fixture(name))]) {
      const bytes = Buffer.from(text);
      for (const hideUsage of [false, true]) {
        const whole = play(wireOf(name), [bytes], hideUsage);
        const single = play(
          wireOf(name),
          cut(
            bytes,
            Array.from({ length: bytes.length }, (_, index) => index),
          ),
          hideUsage,
        );
        expect(single.facts).toEqual(whole.facts);
        expect(single.handedOn.toString()).toBe(whole.handedOn.toString());
        for (let round = 0; round < 10; round += 1) {
          const pieces = cut(
            bytes,
            Array.from({ length: random.integer(1, 12) }, () => random.integer(0, bytes.length)),
          );
          const played = play(wireOf(name), pieces, hideUsage);
          expect(played.facts).toEqual(whole.facts);
          expect(played.handedOn.toString()).toBe(whole.handedOn.toString());
        }
      }
    }
  });

  it.each(STREAMS)('%s reads the same with any line end', (name) => {
    const usageOf = (text: string): unknown => {
      const { outputBytes: _, ...facts } = play(wireOf(name), [Buffer.from(text)], true).facts;
      return facts;
    };
    expect(usageOf(CRLF(fixture(name)))).toEqual(usageOf(fixture(name)));
    expect(usageOf(CR(fixture(name)))).toEqual(usageOf(fixture(name)));
  });

  it.each(STREAMS)('%s: skimming counts no less than the text has, and little more', (name) => {
    const wire = wireOf(name);
    const skimmed = play(wire, [Buffer.from(fixture(name))], false).facts;
    // Spaced like Python's json.dumps, no event can be skimmed, so each is parsed.
    const spaced = fixture(name).replace(
      /^data: (\{.*\})$/gm,
      (_, json: string) => `data: ${JSON.stringify(JSON.parse(json), null, 1).replaceAll(/\n */g, ' ')}`,
    );
    const parsed = play(wire, [Buffer.from(spaced)], false).facts;
    expect({ ...skimmed, outputBytes: 0 }).toEqual({ ...parsed, outputBytes: 0 });
    expect(skimmed.outputBytes).toBeGreaterThanOrEqual(parsed.outputBytes);
    expect(skimmed.outputBytes).toBeLessThan(parsed.outputBytes * 1.5 + 8);
  });
});

describe('the usage chunk nobody asked for', () => {
  const WITH_USAGE: readonly FixtureName[] = [
    'chat.stream.sse',
    'chat.stream-cached.sse',
    'chat.stream-reasoning.sse',
    'chat.stream-tool-call.sse',
    'chat.stream-azure.sse',
    'chat.stream-unknown-model.sse',
  ];

  it.each(WITH_USAGE)('%s: is left out, and all else is as it came', (name) => {
    const text = fixture(name);
    const events = text.split(/(?<=\n\n)/);
    const expected = events.filter((event) => !/"choices":\[\],.*"usage":\{/.test(event)).join('');
    expect(expected.length).toBeLessThan(text.length);
    const { handedOn, facts } = play(wireOf(name), [Buffer.from(text)], true);
    expect(handedOn.toString()).toBe(expected);
    expect(facts.usage).toBeDefined();
    expect(facts.complete).toBe(true);
  });

  const KEPT: readonly FixtureName[] = [
    'chat.stream-usage-with-choices.sse',
    'chat.stream-usage-always.sse',
    'chat.stream-no-usage.sse',
    'chat.stream-error.sse',
  ];

  it.each(KEPT)('%s: a chunk that holds more than usage stays', (name) => {
    const bytes = Buffer.from(fixture(name));
    expect(play(wireOf(name), [bytes], true).handedOn.equals(bytes)).toBe(true);
  });

  it('hands on a whole event even when the chunk that ends it begins the usage', () => {
    const text = fixture('chat.stream.sse');
    const meter = wireOf('chat').meterStream({ hideUsage: true });
    const usageAt = text.indexOf('"choices":[],');
    const before = meter.push(Buffer.from(text.slice(0, usageAt)));
    expect(before?.toString().endsWith('\n\n')).toBe(true);
    const after = meter.push(Buffer.from(text.slice(usageAt)));
    expect(after?.toString()).toBe('data: [DONE]\n\n');
  });
});

describe('odd streams', () => {
  const chat = wireOf('chat');
  const USAGE = '"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}';

  it('keeps comments and unknown fields, and reads data of many lines', () => {
    const text = `: keep-alive\n\nid: 7\nretry: 10\ndata: {"model":"m","choices":[],\ndata: ${USAGE}}\n\n: bye\n\ndata: [DONE]\n\n`;
    const { handedOn, facts } = play(chat, [Buffer.from(text)], true);
    expect(facts).toMatchObject({ model: 'm', usage: { inputTokens: 10, outputTokens: 5 }, complete: true });
    expect(handedOn.toString()).toBe(': keep-alive\n\n: bye\n\ndata: [DONE]\n\n');
  });

  it('reads past a byte order mark and without the space after the colon', () => {
    const { facts } = play(chat, [Buffer.from(`\ufeffdata:{"model":"m","choices":[],${USAGE}}\n\ndata:[DONE]\n\n`)], false);
    expect(facts).toMatchObject({ model: 'm', usage: { inputTokens: 10 }, complete: true });
  });

  it('reads a last event that no blank line ends', () => {
    const { handedOn, facts } = play(chat, [Buffer.from(`data: {"model":"m","choices":[],${USAGE}}\n\ndata: [DONE]`)], true);
    expect(facts).toMatchObject({ complete: true, usage: { outputTokens: 5 } });
    expect(handedOn.toString()).toBe('data: [DONE]');
  });

  it('counts what it cannot read as output, by its bytes', () => {
    const { handedOn, facts } = play(chat, [Buffer.from('data: {"choices":[{"delta":{"content":"unfini\n\n')], false);
    expect(facts.outputBytes).toBe('{"choices":[{"delta":{"content":"unfini'.length);
    expect(handedOn.length).toBeGreaterThan(0);
  });

  it('bounds half an event that was under way when the stream broke', () => {
    const meter = chat.meterStream({ hideUsage: true });
    expect(meter.push(Buffer.from('data: {"choices":[{"delta":{"content":"half'))).toBeUndefined();
    expect(meter.facts().outputBytes).toBeGreaterThanOrEqual(4);
  });

  it('is not deceived by text that looks like usage, an error or an end', () => {
    const content = JSON.stringify('"usage":{"prompt_tokens":1} "error":{} [DONE] "finish_reason":"stop"\n\ndata: [DONE]');
    const text = `data: {"model":"m","choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}\n\ndata: {"model":"m","choices":[{"index":0,"delta":{"content":${content}},"finish_reason":null}]}\n\n`;
    const { handedOn, facts } = play(chat, [Buffer.from(text)], true);
    expect(facts).toMatchObject({ usage: undefined, error: undefined, complete: false });
    expect(facts.outputBytes).toBeGreaterThanOrEqual(Buffer.byteLength(JSON.parse(content) as string));
    expect(handedOn.toString()).toBe(text);
  });

  it('passes on an event of megabytes that comes in pieces, in linear time', () => {
    const content = 'x'.repeat(8 * 1024 * 1024);
    const bytes = Buffer.from(
      `data: {"model":"m","choices":[{"delta":{"content":"${content}"}}]}\n\ndata: {"choices":[],${USAGE}}\n\ndata: [DONE]\n\n`,
    );
    const pieces = Array.from({ length: Math.ceil(bytes.length / 4096) }, (_, index) => bytes.subarray(index * 4096, (index + 1) * 4096));
    const started = performance.now();
    const { handedOn, facts } = play(chat, pieces, true);
    expect(performance.now() - started).toBeLessThan(2000);
    expect(facts).toMatchObject({ outputBytes: content.length, usage: { inputTokens: 10 } });
    expect(handedOn.length).toBe(bytes.length - `data: {"choices":[],${USAGE}}\n\n`.length);
  });
});

describe('a hidden event of CRLF', () => {
  it('takes its line feed with it when that comes in a chunk of its own', () => {
    const text = CRLF(fixture('chat.stream.sse'));
    const end = text.indexOf('\r\n\r\n', text.indexOf('"choices":[],')) + 3;
    const bytes = Buffer.from(text);
    const whole = play(wireOf('chat'), [bytes], true).handedOn.toString();
    expect(play(wireOf('chat'), cut(bytes, [Buffer.byteLength(text.slice(0, end))]), true).handedOn.toString()).toBe(whole);
  });
});

describe('events alike but for one thing', () => {
  const delta = (content: string, after = ''): string =>
    `data: {"model":"m","choices":[{"index":0,"delta":{"content":${JSON.stringify(content)}},"finish_reason":null}]${after},"obfuscation":"aB1"}\n\n`;
  const first = 'data: {"model":"m","choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}\n\n';

  it.each([
    ['a usage before the padding', delta('x', ',"usage":{"prompt_tokens":7,"completion_tokens":2}'), { usage: { inputTokens: 7 } }],
    [
      'a usage after the padding',
      delta('x').replace('"aB1"', '"aB1","usage":{"prompt_tokens":7,"completion_tokens":2}'),
      { usage: { inputTokens: 7 } },
    ],
    [
      'a usage before the choices',
      delta('x').replace('"choices"', '"usage":{"prompt_tokens":7,"completion_tokens":2},"choices"'),
      { usage: { inputTokens: 7 } },
    ],
    ['an error after the padding', delta('x').replace('"aB1"', '"aB1","error":{"message":"no"}'), { error: 'no' }],
    [
      'a second choice',
      delta('x').replace('"finish_reason":null}', '"finish_reason":null},{"index":1,"delta":{"content":"four"}}'),
      { outputBytes: 3 + 1 + 4 },
    ],
    [
      'a second line of data',
      delta('x').replace(',"obfuscation"', ',\ndata: "usage":{"prompt_tokens":7},"obfuscation"'),
      { usage: { inputTokens: 7 } },
    ],
  ])('%s is not overlooked', (_, odd, expected) => {
    const text = [first, delta('a'), delta('b'), delta('c'), odd].join('');
    expect(play(wireOf('chat'), [Buffer.from(text)], false).facts).toMatchObject(expected);
  });
});
