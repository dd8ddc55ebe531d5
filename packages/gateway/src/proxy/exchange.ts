import type { IncomingHttpHeaders } from 'node:http';
import type { Dispatcher } from 'undici';
import type { Provider } from './providers.ts';

/** How a call to a provider went wrong, as far as money is concerned. */
export type ExchangeFault =
  /** The request never reached the provider: nothing was produced. */
  | { readonly type: 'unreachable'; readonly message: string }
  /** It reached the provider, which closed the connection without an answer. */
  | { readonly type: 'no_answer'; readonly message: string }
  /** It reached the provider, whose answer did not come in time. */
  | { readonly type: 'timeout'; readonly message: string }
  /** The answer broke off after it had begun. */
  | { readonly type: 'broken'; readonly message: string }
  /** We ended it: the caller left, or a bound was passed. */
  | { readonly type: 'aborted'; readonly message: string };

/** The reply as it arrives. Exactly one of `end` and `fail` is called, last. */
export interface ReplySink {
  /** Header names are lower-case. */
  head(status: number, headers: IncomingHttpHeaders, exchange: Exchange): void;
  data(chunk: Buffer, exchange: Exchange): void;
  end(): void;
  fail(fault: ExchangeFault): void;
}

/** A call under way. */
export interface Exchange {
  pause(): void;
  resume(): void;
  /** Closes the connection to the provider; the sink's `fail` gets an `aborted` fault. */
  abort(message: string): void;
}

class AbortedByUs extends Error {}

/** Makes one call to a provider. Never throws: whatever happens reaches the sink. */
export function exchange(
  provider: Provider,
  request: {
    readonly path: string;
    readonly headers: string[];
    readonly body: string | Uint8Array | null;
    readonly method?: 'POST' | 'GET';
  },
  sink: ReplySink,
): Exchange {
  let controller: Dispatcher.DispatchController | undefined;
  let abortedWith: string | undefined;
  let isSent = false;
  let hasBegun = false;
  let isOver = false;

  const handle: Exchange = {
    pause: () => controller?.pause(),
    resume: () => controller?.resume(),
    abort(message) {
      abortedWith ??= message;
      if (controller !== undefined && !isOver) controller.abort(new AbortedByUs(message));
    },
  };

  const fail = (error: Error): void => {
    if (isOver) return;
    isOver = true;
    sink.fail(faultOf(error, { isSent, hasBegun, abortedWith }));
  };

  try {
    provider.pool.dispatch(
      { path: request.path, method: request.method ?? 'POST', headers: request.headers, body: request.body },
      {
        onRequestStart(started) {
          controller = started;
          if (abortedWith !== undefined) started.abort(new AbortedByUs(abortedWith));
          else isSent = true;
        },
        onResponseStart(_controller, status, headers) {
          if (status < 200) return;
          hasBegun = true;
          sink.head(status, headers, handle);
        },
        onResponseData(_controller, chunk) {
          sink.data(chunk, handle);
        },
        onResponseEnd() {
          if (isOver) return;
          isOver = true;
          sink.end();
        },
        onResponseError(_controller, error) {
          fail(error);
        },
      },
    );
  } catch (error) {
    fail(error instanceof Error ? error : new Error(String(error)));
  }
  return handle;
}

/** Errors of a connection that never carried the request. */
const UNREACHABLE = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_INVALID_ARG',
  'CERT_HAS_EXPIRED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'ERR_TLS_CERT_ALTNAME_INVALID',
]);
const TIMEOUT = new Set(['UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT', 'ETIMEDOUT']);

function faultOf(
  error: Error,
  state: { readonly isSent: boolean; readonly hasBegun: boolean; readonly abortedWith: string | undefined },
): ExchangeFault {
  const code = codeOf(error);
  if (state.abortedWith !== undefined || error instanceof AbortedByUs)
    return { type: 'aborted', message: state.abortedWith ?? error.message };
  if (state.hasBegun) return { type: 'broken', message: `the provider's answer broke off (${code ?? error.message})` };
  if (TIMEOUT.has(code ?? '')) return { type: 'timeout', message: 'the provider did not answer in time' };
  if (error.name === 'HTTPParserError' || code === 'UND_ERR_HEADERS_OVERFLOW')
    return { type: 'broken', message: `the provider's answer is not HTTP the gateway can read (${code ?? error.message})` };
  if (!state.isSent || UNREACHABLE.has(code ?? ''))
    return { type: 'unreachable', message: `the provider could not be reached (${code ?? error.message})` };
  return { type: 'no_answer', message: `the provider closed the connection without an answer (${code ?? error.message})` };
}

function codeOf(error: Error): string | undefined {
  const { code } = error as { code?: unknown };
  if (typeof code === 'string') return code;
  return error.cause instanceof Error ? codeOf(error.cause) : undefined;
}
