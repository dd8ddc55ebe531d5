import { isAtGateway } from '../client/is-at-gateway.ts';
import { attemptOf, refusalReply, type FetchedCall } from './fetched-call.ts';

/**
 * A `fetch` for model clients: adds the headers of the call it is made for when it goes to the gateway, and asks for each
 * try of the client's own when it goes elsewhere. `callOf` tells the call; it may take marks of its adapter off the headers.
 */
export function meteredFetch(callOf: (headers: Headers) => FetchedCall | undefined, inner: typeof fetch = fetchNow): typeof fetch {
  return async (input, init) => {
    const headers = new Headers(init?.headers ?? (input instanceof Request ? input.headers : undefined));
    const call = callOf(headers);
    if (call === undefined || call.isSending === true) return inner(input, { ...init, headers });
    call.tries += 1;
    call.isSending = true;
    try {
      if (isAtGateway(call.gateway, input instanceof Request ? input.url : String(input))) {
        call.isCarried = true;
        const ours = call.run.headers({ ...call.place, attempt: attemptOf(call), stepKind: 'llm_call' });
        for (const [name, value] of Object.entries(ours)) headers.set(name, value);
        // The attempt says it already; the gateway would add the client's own count to it.
        headers.delete('x-stainless-retry-count');
      } else if (call.tries > 1 && call.asked !== undefined) {
        const refusal = await tryAgain(call, call.asked);
        if (refusal !== undefined) return refusal;
      }
      call.failure = undefined;
      const response = await inner(input, { ...init, headers });
      call.requestId = response.headers.get('x-runpurse-request-id') ?? undefined;
      if (!response.ok) call.failure = Object.assign(new Error(`the provider answered ${response.status}`), { status: response.status });
      return response;
    } finally {
      call.isSending = false;
    }
  };
}

/** Looked up at each call: who replaces the global `fetch` means model clients too. */
const fetchNow: typeof fetch = (input, init) => fetch(input, init);

/** The model's client tries again by itself, past the gateway: each try is a request, asked for and reported. */
async function tryAgain(call: FetchedCall, asked: NonNullable<FetchedCall['asked']>): Promise<Response | undefined> {
  const { run, place, failure } = call;
  const attempt = attemptOf(call);
  // A provider that answered with an error bills nothing; what one did whose answer was lost is unknown.
  const usage = failure === undefined ? undefined : { input_tokens: 0, output_tokens: 0 };
  const error = failure ?? new Error('the request got no answer');
  run.recordModel({ ...place, ...asked, attempt: attempt - 1, carried: false, error, usage });
  const decision = await run.authorizeModel({ ...place, ...asked, attempt, carried: false });
  return decision.proceed ? undefined : refusalReply(decision);
}
