import { createServer, type Socket } from 'node:net';

/**
 * The provider everything is measured against: raw sockets and fixed bytes, so that it costs far less than a proxy. A body
 * that asks for a stream gets one; `LATENCY_MS` answers every call after that time. Prints its port when it listens.
 */

const LATENCY_MS = Number(process.env['LATENCY_MS'] ?? 0);
const STREAM_EVENTS = 32;

const REPLY = JSON.stringify({
  id: 'chatcmpl-bench0000000000000000',
  object: 'chat.completion',
  created: 1767225600,
  model: 'bench-model',
  system_fingerprint: 'fp_bench',
  choices: [
    {
      index: 0,
      message: {
        role: 'assistant',
        content: 'The refund of order 4711 was issued today and reaches the account within three days.',
        refusal: null,
        annotations: [],
      },
      logprobs: null,
      finish_reason: 'stop',
    },
  ],
  usage: {
    prompt_tokens: 42,
    completion_tokens: 21,
    total_tokens: 63,
    prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 },
    completion_tokens_details: { reasoning_tokens: 0, audio_tokens: 0, accepted_prediction_tokens: 0, rejected_prediction_tokens: 0 },
  },
  service_tier: 'default',
});
/** What OpenAI sends beside the reply. */
const HEADERS = [
  'date: Thu, 01 Jan 2026 00:00:00 GMT',
  'openai-organization: bench',
  'openai-processing-ms: 12',
  'openai-version: 2020-10-01',
  'x-ratelimit-limit-requests: 30000',
  'x-ratelimit-limit-tokens: 150000000',
  'x-ratelimit-remaining-requests: 29999',
  'x-ratelimit-remaining-tokens: 149999967',
  'x-ratelimit-reset-requests: 2ms',
  'x-ratelimit-reset-tokens: 0s',
  'x-request-id: req_bench00000000000000000000000',
  'strict-transport-security: max-age=31536000; includeSubDomains; preload',
  'x-content-type-options: nosniff',
].join('\r\n');
const PLAIN = Buffer.from(
  `HTTP/1.1 200 OK\r\n${HEADERS}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(REPLY)}\r\n\r\n${REPLY}`,
);

function chunked(text: string): Buffer {
  return Buffer.from(`${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`);
}

function streamEvent(fields: object): Buffer {
  const head = { id: 'chatcmpl-bench', object: 'chat.completion.chunk', created: 1767225600, model: 'bench-model' };
  return chunked(`data: ${JSON.stringify({ ...head, ...fields })}\n\n`);
}

const STREAM_HEAD = Buffer.from(`HTTP/1.1 200 OK\r\n${HEADERS}\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n`);
const STREAM_EVENT = streamEvent({
  choices: [{ index: 0, delta: { content: ' and so' }, logprobs: null, finish_reason: null }],
  usage: null,
});
const STREAM_TAIL = Buffer.concat([
  streamEvent({ choices: [{ index: 0, delta: {}, logprobs: null, finish_reason: 'stop' }], usage: null }),
  streamEvent({ choices: [], usage: { prompt_tokens: 42, completion_tokens: STREAM_EVENTS * 2, total_tokens: 42 + STREAM_EVENTS * 2 } }),
  chunked('data: [DONE]\n\n'),
  Buffer.from('0\r\n\r\n'),
]);

function answer(socket: Socket, wantsStream: boolean): void {
  if (!wantsStream) {
    socket.write(PLAIN);
    return;
  }
  socket.write(STREAM_HEAD);
  let sent = 0;
  const next = () => {
    if (socket.destroyed) return;
    if (sent === STREAM_EVENTS) {
      socket.write(STREAM_TAIL);
      return;
    }
    sent += 1;
    socket.write(STREAM_EVENT);
    setImmediate(next);
  };
  setImmediate(next);
}

const server = createServer((socket) => {
  socket.setNoDelay(true);
  let pending: Buffer = Buffer.alloc(0);
  socket.on('error', () => socket.destroy());
  socket.on('data', (data) => {
    pending = pending.length === 0 ? data : Buffer.concat([pending, data]);
    for (;;) {
      const headEnd = pending.indexOf('\r\n\r\n');
      if (headEnd < 0) return;
      const head = pending.toString('latin1', 0, headEnd).toLowerCase();
      const length = /\r\ncontent-length: *(\d+)/.exec(head);
      let end = headEnd + 4;
      if (length !== null) {
        end += Number(length[1]);
        if (pending.length < end) return;
      } else if (head.includes('transfer-encoding: chunked')) {
        const last = pending.indexOf('\r\n0\r\n\r\n', headEnd + 2);
        if (last < 0) return;
        end = last + 7;
      }
      const wantsStream = pending.subarray(headEnd, end).includes('"stream":true');
      pending = pending.subarray(end);
      if (LATENCY_MS > 0) setTimeout(answer, LATENCY_MS, socket, wantsStream);
      else answer(socket, wantsStream);
    }
  });
});

server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (typeof address === 'object' && address !== null) process.stdout.write(`listening ${address.port}\n`);
});
