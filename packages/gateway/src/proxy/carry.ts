import { isAscii } from 'node:buffer';
import { once } from 'node:events';
import type { IncomingHttpHeaders, ServerResponse } from 'node:http';
import type { Refusal } from '@runpurse/core';
import type { PlannedCall } from '../admit/plan-call.ts';
import type { Reservation } from '../admit/types.ts';
import type { GatewayConfig } from '../config/config.ts';
import { decodeReply } from '../meter/decode-reply.ts';
import { settleCall, type CallOutcome, type SettleParts } from '../meter/settle-call.ts';
import type { ReplyFacts, StreamMeter, Wire } from '../wires/wire.ts';
import { CLOSING_TRAILERS, closingComment, closingFigures, closingTrailers, openingHeaders, wholeHeaders } from './cost-headers.ts';
import { exchange, type Exchange, type ExchangeFault, type ReplySink } from './exchange.ts';
import { replyHeaders } from './forward-headers.ts';
import { respondRefusal } from './respond.ts';

export interface CarryParts extends SettleParts {
  readonly config: GatewayConfig;
}

/** An admitted call on its way: what the reply is metered, settled and answered with. */
export interface Carried {
  readonly wire: Wire;
  readonly plan: PlannedCall;
  readonly reservation: Reservation;
  readonly audits: readonly string[];
  readonly response: ServerResponse;
  readonly path: string;
  readonly headers: string[];
  readonly body: string;
}

/**
 * Calls the provider and passes its reply on, metering as it goes. Settles the reservation exactly once, whatever happens.
 * A plain reply is metered whole, so that its cost is in its headers; a stream flows through and closes with its figures.
 */
export function carry(parts: CarryParts, carried: Carried): void {
  const { response, plan, reservation, wire } = carried;
  const settle = (end: CallOutcome) => settleCall(parts, plan, reservation, end);
  let reply: Reply | undefined;

  const sink: ReplySink = {
    head(status, headers, upstream) {
      if (status >= 300 && status < 400) {
        reply = ENDED;
        settle({ type: 'rejected', status, facts: undefined });
        respondRefusal(response, wire, redirected(plan, status, headers.location), reservation.id);
        upstream.abort('the provider answered with a redirect');
        return;
      }
      reply = isStreamed(plan, status, headers['content-type'])
        ? streamReply(parts, carried, status, headers, upstream, settle)
        : plainReply(parts, carried, status, headers, settle);
    },
    data: (chunk, upstream) => reply?.data(chunk, upstream),
    end: () => reply?.end(),
    fail(fault) {
      if (reply !== undefined) {
        reply.fail(fault);
        return;
      }
      settle({ type: 'silent', fault, streamed: plan.call.stream });
      respondRefusal(response, wire, failedProvider(plan, fault), reservation.id);
    },
  };
  const upstream = exchange(plan.provider, { path: carried.path, headers: carried.headers, body: carried.body }, sink);
  response.on('close', () => {
    if (response.writableFinished) return;
    // A plain reply is awaited even when its caller has left: the provider bills it, and only the reply says how much.
    if (plan.call.stream) upstream.abort('the caller closed the connection');
  });
}

/** Media types are written in any case, and some local servers stream without naming one. */
function isStreamed(plan: PlannedCall, status: number, contentType: string | undefined): boolean {
  if (status >= 400) return false;
  return contentType === undefined ? plan.call.stream : contentType.toLowerCase().startsWith('text/event-stream');
}

interface Reply {
  data(chunk: Buffer, upstream: Exchange): void;
  end(): void;
  fail(fault: ExchangeFault): void;
}

/** Settled and answered already; what still comes is of no use to anyone. */
const ENDED: Reply = { data: () => undefined, end: () => undefined, fail: () => undefined };

function plainReply(
  parts: CarryParts,
  carried: Carried,
  status: number,
  upstreamHeaders: IncomingHttpHeaders,
  settle: (end: CallOutcome) => ReturnType<typeof settleCall>,
): Reply {
  const { response, reservation, audits, wire } = carried;
  const maxBytes = parts.config.limits.max_response_bytes;
  let chunks: Buffer[] = [];
  let bytes = 0;
  let isPassedOn = false;

  return {
    data(chunk, upstream) {
      if (!isPassedOn) {
        chunks.push(chunk);
        bytes += chunk.length;
        if (bytes <= maxBytes) return;
        // Too long to keep: charged at its hold and passed on as it comes.
        isPassedOn = true;
        const settled = settle({ type: 'unmetered', reason: `the reply is longer than limits.max_response_bytes (${maxBytes})` });
        response.writeHead(status, [...replyHeaders(upstreamHeaders), ...wholeHeaders(parts.admission, reservation, audits, settled)]);
        for (const kept of chunks) response.write(kept);
        chunks = [];
        return;
      }
      if (!response.write(chunk)) void resumeOnDrain(response, upstream);
    },
    end() {
      if (isPassedOn) {
        response.end();
        return;
      }
      const body = chunks.length === 1 ? (chunks[0] ?? Buffer.alloc(0)) : Buffer.concat(chunks, bytes);
      // As text it goes out in one piece with its head; bytes would make two.
      const text = isAscii(body) ? body.toString('latin1') : undefined;
      const metered = decodeReply(wire, body, text, upstreamHeaders['content-encoding']);
      const settled = settle(status < 400 ? { type: 'answered', facts: metered } : { type: 'rejected', status, facts: metered });
      if (response.destroyed) return;
      const headers = replyHeaders(upstreamHeaders);
      for (const header of wholeHeaders(parts.admission, reservation, audits, settled)) headers.push(header);
      headers.push('content-length', String(body.length));
      response.writeHead(status, headers);
      if (text === undefined) response.end(body);
      else response.end(text, 'latin1');
    },
    fail(fault) {
      if (isPassedOn) {
        response.destroy();
        return;
      }
      // A plain reply comes when all is made: broken off, its cost is unknown, and the hold is charged.
      if (status < 400) settle({ type: 'silent', fault, streamed: false });
      else settle({ type: 'rejected', status, facts: undefined });
      respondRefusal(response, wire, failedProvider(carried.plan, fault), reservation.id);
    },
  };
}

function streamReply(
  parts: CarryParts,
  carried: Carried,
  status: number,
  upstreamHeaders: IncomingHttpHeaders,
  upstream: Exchange,
  settle: (end: CallOutcome) => ReturnType<typeof settleCall>,
): Reply {
  const { response, reservation, audits, plan, wire } = carried;
  const maxBytes = parts.config.limits.max_stream_bytes;
  const meter: StreamMeter = wire.meterStream({ hideUsage: plan.change().streamUsage === true });
  let bytes = 0;
  let cutReason: string | undefined;

  const headers = replyHeaders(upstreamHeaders);
  for (const header of openingHeaders(parts.admission, reservation, audits)) headers.push(header);
  // HTTP/1.0, which many proxies still speak, has neither chunks nor trailers: there the comment line alone has the figures.
  const takesTrailers = response.req.httpVersion !== '1.0';
  if (takesTrailers) headers.push('trailer', CLOSING_TRAILERS);
  if (!response.destroyed) {
    response.writeHead(status, headers);
    // With the first piece when that came along, else by itself: the caller learns at once that the stream has begun.
    setImmediate(() => response.flushHeaders());
  }

  /** The stream is over: reads what it left unfinished first, which may be its usage. */
  const close = (endOf: (facts: ReplyFacts) => CallOutcome): void => {
    const rest = meter.flush();
    const end = endOf(meter.facts());
    const settled = settle(end);
    if (response.destroyed) return;
    if (rest !== undefined) response.write(rest);
    const figures = closingFigures(parts.admission, reservation, settled);
    response.write(closingComment(reservation.id, figures));
    if (takesTrailers) response.addTrailers(closingTrailers(figures));
    if (end.type === 'answered') response.end();
    else response.destroy();
  };

  return {
    data(chunk) {
      bytes += chunk.length;
      if (bytes > maxBytes && cutReason === undefined) {
        cutReason = `the stream passed limits.max_stream_bytes (${maxBytes})`;
        upstream.abort(cutReason);
        return;
      }
      const passedOn = meter.push(chunk);
      if (passedOn === undefined || response.destroyed) return;
      if (!response.write(passedOn)) void resumeOnDrain(response, upstream);
    },
    end() {
      close((facts) => ({ type: 'answered', facts }));
    },
    fail(fault) {
      close((facts) => {
        // Its last event was there: many clients close at it, and a provider that does so late took nothing back.
        if (facts.complete && cutReason === undefined) return { type: 'answered', facts };
        return {
          type: 'partial',
          facts,
          reason: cutReason ?? fault.message,
          byCaller: fault.type === 'aborted' && cutReason === undefined,
        };
      });
    },
  };
}

async function resumeOnDrain(response: ServerResponse, upstream: Exchange): Promise<void> {
  upstream.pause();
  const heard = new AbortController();
  const hear = (event: string): Promise<unknown> => once(response, event, { signal: heard.signal }).catch(() => undefined);
  await Promise.race([hear('drain'), hear('close')]);
  heard.abort();
  upstream.resume();
}

const NOTHING_CHARGED = 'Nothing was charged.';
const WORST_CHARGED = 'The provider may have done the work, so its worst case is charged and marked unconfirmed.';
const INPUT_CHARGED = 'The provider may bill what it read, so the input is charged and marked unconfirmed.';

/** What the caller is told of the charge; `meter/settle-call.ts` makes it. */
const CHARGED_TEXT: Readonly<Record<ExchangeFault['type'], { readonly plain: string; readonly stream: string }>> = {
  unreachable: { plain: NOTHING_CHARGED, stream: NOTHING_CHARGED },
  no_answer: { plain: WORST_CHARGED, stream: NOTHING_CHARGED },
  timeout: { plain: WORST_CHARGED, stream: INPUT_CHARGED },
  broken: { plain: WORST_CHARGED, stream: INPUT_CHARGED },
  aborted: { plain: WORST_CHARGED, stream: INPUT_CHARGED },
};

/** Not passed on: a client that followed it would take the call, and its virtual key, past the gateway. */
function redirected(plan: PlannedCall, status: number, location: string | undefined): Refusal {
  const { provider, model } = plan;
  const target = location !== undefined && URL.canParse(location) ? ` to ${new URL(location).origin}` : '';
  return {
    code: 'provider_failed',
    message: `Provider ${provider.name} answered the call of model ${model} with a redirect (${status})${target}, which the gateway does not follow. ${NOTHING_CHARGED} Set its base_url in runpurse.yaml to where it really answers.`,
    details: { provider: provider.name, model, run_id: plan.request.subject.runId },
  };
}

function failedProvider(plan: PlannedCall, fault: ExchangeFault): Refusal {
  return {
    code: 'provider_failed',
    message: `Provider ${plan.provider.name} failed on model ${plan.model}: ${fault.message}. ${CHARGED_TEXT[fault.type][plan.call.stream ? 'stream' : 'plain']} Check the provider's status and its base_url in runpurse.yaml before trying again.`,
    details: { provider: plan.provider.name, model: plan.model, run_id: plan.request.subject.runId },
  };
}
