import { isIP } from 'node:net';
import { Agent, request } from 'undici';
import { ForbiddenAddressError, forbiddenAddress, guardedLookup, type PrivateAddresses } from './address-guard.ts';

/** What became of one POST. `status` null: there was no answer. */
export interface Sent {
  readonly status: number | null;
  /** Undefined: delivered (2xx). In words that name no address and hold nothing the receiver said. */
  readonly error: string | undefined;
  /** The receiver asked for this much patience. */
  readonly retryAfterMs?: number | undefined;
}

export interface Sender {
  send(url: string, headers: Readonly<Record<string, string>>, body: string, signal: AbortSignal): Promise<Sent>;
  close(): Promise<void>;
}

/** Without an answer for this long an attempt has failed. */
const TIMEOUT_MS = 10_000;
const CONNECTIONS_PER_RECEIVER = 4;
const ANSWER_BYTES_READ = 16_384;
const RETRY_AFTER_MAX_S = 3_600;

/** Posts to receivers: no redirects, no cookies, no environment proxy; the answer's body is thrown away. */
export function createSender(options: { readonly privateAddresses: PrivateAddresses; readonly timeoutMs?: number }): Sender {
  const timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
  const agent = new Agent({
    connections: CONNECTIONS_PER_RECEIVER,
    keepAliveTimeout: 4_000,
    maxHeaderSize: 16_384,
    connect: { timeout: timeoutMs, lookup: guardedLookup(options.privateAddresses) },
  });
  return {
    async send(url, headers, body, signal) {
      const host = new URL(url).hostname.replace(/^\[|\]$/g, '');
      // A literal address is never looked up.
      const reason = isIP(host) === 0 ? undefined : forbiddenAddress(host, options.privateAddresses);
      if (reason !== undefined) return { status: null, error: reason };
      const deadline = AbortSignal.timeout(timeoutMs);
      try {
        const response = await request(url, {
          dispatcher: agent,
          method: 'POST',
          headers: { 'content-type': 'application/json', 'user-agent': 'Runpurse-Webhooks', ...headers },
          body,
          signal: AbortSignal.any([signal, deadline]),
        });
        const { statusCode: status } = response;
        await response.body.dump({ limit: ANSWER_BYTES_READ }).catch(() => undefined);
        if (status >= 200 && status < 300) return { status, error: undefined };
        if (status >= 300 && status < 400) return { status, error: `answered ${status}; redirects are not followed` };
        return { status, error: `answered ${status}`, retryAfterMs: retryAfterMs(response.headers['retry-after']) };
      } catch (fault) {
        if (deadline.aborted) return { status: null, error: `no answer within ${timeoutMs / 1000} s` };
        return { status: null, error: describe(fault) };
      }
    },
    close: () => agent.destroy(),
  };
}

function retryAfterMs(header: string | string[] | undefined): number | undefined {
  const seconds = typeof header === 'string' && /^\d{1,6}$/.test(header) ? Number(header) : undefined;
  return seconds === undefined ? undefined : Math.min(seconds, RETRY_AFTER_MAX_S) * 1000;
}

function describe(fault: unknown): string {
  if (fault instanceof ForbiddenAddressError) return fault.message;
  const code = typeof fault === 'object' && fault !== null && 'code' in fault && typeof fault.code === 'string' ? fault.code : undefined;
  return code === undefined ? 'the connection failed' : `the connection failed (${code})`;
}
