import { randomBytes } from 'node:crypto';
import type { Bundle, HttpRequestOptions, ZObject } from 'zapier-platform-core';
import {
  createGatewayClient,
  orThrow,
  type Decision,
  type GatewayClient,
  type Ids,
  type Problem,
  type Run,
  type RunOptions,
  type TransportRequest,
  type TransportResponse,
} from '@runpurse/core';
import { answerError, haltedText, unavailableError, zapierError } from './errors.ts';
import { choice } from './inputs.ts';

/** How a step reaches the gateway: core's client over `z.request`. A step is a process of its own, so nothing is kept between two. */

/** Zapier gives an action 30 seconds; the step should still be able to say what happened. */
export const STEP_MS = 27_000;
/** A step makes a few exchanges; all of them fit into its time. */
const QUICK_MS = 5_000;

const ids: Ids = { next: (prefix) => `${prefix}_${Date.now().toString(16).padStart(12, '0')}${randomBytes(10).toString('hex')}` };

/** Only a test reaches these; from Zapier they lead nowhere. */
const LOOPBACK: ReadonlySet<string> = new Set(['localhost', '127.0.0.1', '[::1]']);

/** The gateway of this connection, without a path. */
export function gatewayUrl(z: ZObject, bundle: Bundle): string {
  const text = (bundle.authData['base_url'] ?? '').trim().replace(/\/+(?:v1\/*)?$/, '');
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isSafe = url?.protocol === 'https:' || (url?.protocol === 'http:' && LOOPBACK.has(url.hostname));
  if (url === undefined || !isSafe || url.username !== '' || url.password !== '')
    throw new z.errors.Error(
      'The address of the gateway must begin with https:// and hold no user or password, such as https://runpurse.example.com: the key travels along. Correct it in the connection.',
      'invalid_connection',
      400,
    );
  return text;
}

/** A request as core wants it: every status is an answer, no redirect is followed (the key would travel along). */
async function send(z: ZObject, { method, url, headers, body, timeoutMs }: TransportRequest): Promise<TransportResponse> {
  const options: HttpRequestOptions & { readonly throwForThrottlingEarly: false; readonly merge: false } = {
    method,
    headers: { ...headers },
    ...(body === undefined ? {} : { body }),
    redirect: 'manual',
    timeout: timeoutMs,
    skipThrowForStatus: true,
    throwForThrottlingEarly: false,
    // A prompt may hold {{curly braces}}; it goes as it is.
    merge: false,
  };
  const response = await z.request(url, options);
  const plain: Record<string, string> = {};
  response.headers.forEach((value: string, name: string) => (plain[name.toLowerCase()] = value));
  return { status: response.status, headers: plain, body: response.content };
}

interface Asked {
  readonly method: 'GET' | 'POST' | 'DELETE';
  readonly path: string;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
  /** What to say when no answer came in time, where that means more than a gateway that is away. */
  readonly slowText?: string;
}

/** An exchange outside of core's client: reads, webhooks, model calls. Every status is an answer; throws when none came. */
export async function exchange(z: ZObject, bundle: Bundle, asked: Asked): Promise<TransportResponse> {
  const [base, key] = [gatewayUrl(z, bundle), keyOf(z, bundle)];
  const { method, path, body, headers, timeoutMs = QUICK_MS, slowText } = asked;
  try {
    return await send(z, {
      method: method as TransportRequest['method'],
      url: `${base}${path}`,
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', accept: 'application/json', ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
      timeoutMs,
    });
  } catch (fault) {
    if (slowText !== undefined && isSlow(fault)) throw new z.errors.Error(slowText, 'too_slow', 504);
    throw unavailableError(z, unreachable(base, fault));
  }
}

/** The same, with a Zapier error for whatever is no success (but for the one status that is `accept`ed). */
export async function call(z: ZObject, bundle: Bundle, asked: Asked, accept?: number): Promise<TransportResponse> {
  const response = await exchange(z, bundle, asked);
  if (isSuccess(response) || response.status === accept) return response;
  throw answerError(z, response.status, response.body, response.headers);
}

export function isSuccess({ status }: TransportResponse): boolean {
  return status >= 200 && status < 300;
}

/** The JSON of a GET; undefined when there is nothing there. */
export async function read<Shape>(z: ZObject, bundle: Bundle, path: string): Promise<Shape | undefined> {
  const { status, body } = await call(z, bundle, { method: 'GET', path }, 404);
  if (status === 404) return undefined;
  try {
    return JSON.parse(body) as Shape;
  } catch {
    throw answerError(z, status, body, {});
  }
}

export function keyOf(z: ZObject, bundle: Bundle): string {
  const key = (bundle.authData['api_key'] ?? '').trim();
  if (key === '') throw new z.errors.ExpiredAuthError('This connection has no virtual key. Reconnect Runpurse in Zapier.');
  return key;
}

export function failurePolicyOf(z: ZObject, bundle: Bundle): 'open' | 'closed' {
  return choice(z, bundle.authData, 'failure_policy', 'When the Gateway Can’t Be Reached', ['open', 'closed']);
}

/** A step's hold of a run: what it reports is delivered before the step ends, or the step says that it was not. */
export interface Attached {
  readonly run: Run;
  /**
   * Delivers what was reported. Resolves to why that failed under the policy `open`; throws under `closed`.
   * @param conflict thrown where the gateway was told otherwise before
   */
  deliver(conflict?: Error): Promise<string | undefined>;
}

export function attach(z: ZObject, bundle: Bundle, options: RunOptions): Attached {
  const failurePolicy = failurePolicyOf(z, bundle);
  const problems: Problem[] = [];
  const client: GatewayClient = createGatewayClient({
    baseUrl: gatewayUrl(z, bundle),
    apiKey: keyOf(z, bundle),
    source: 'zapier',
    transport: { send: (request) => send(z, request) },
    timers: { now: () => Date.now(), sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms).unref()) },
    ids,
    failurePolicy: { authorize: failurePolicy },
    timeoutMs: QUICK_MS,
    onProblem: (problem) => problems.push(problem),
  });
  let run: Run;
  try {
    run = client.run(options);
  } catch (error) {
    throw zapierError(z, error) as Error;
  }
  return {
    run,
    async deliver(conflict) {
      const left = await client.flush();
      client.drain();
      const rejected = problems.find(({ code }) => code === 'events_rejected' || code === 'event_invalid');
      if (rejected?.cause === 'event_id_conflict' && conflict !== undefined) throw conflict;
      if (rejected !== undefined) throw new z.errors.Error(rejected.message, rejected.code, 400);
      if (left === 0) return undefined;
      const problem = problems.findLast(({ code }) => code === 'events_delayed' || code === 'gateway_unavailable');
      const why = typeof problem?.cause === 'string' ? `${problem.cause}.` : (problem?.message ?? 'no answer.');
      const text = `Runpurse could not be reached at ${gatewayUrl(z, bundle)}, so this was not recorded: ${why}`;
      if (failurePolicy === 'closed') throw unavailableError(z, `${text} Replay this step once it is back; it is charged once.`);
      return text;
    },
  };
}

/** What a decision means for the step: undefined, go on; a text, go on without the gateway and say so. Refusals throw, halting the Zap. */
export async function mayGoOn(z: ZObject, { run, deliver }: Attached, decision: Decision): Promise<string | undefined> {
  if (decision.type === 'denied') {
    await endRefused({ run, deliver }, decision);
    throw zapierError(z, orThrowError(decision)) as Error;
  }
  if (decision.type === 'unavailable') {
    if (!decision.proceed) throw unavailableError(z, `${decision.error.message} Replay this step once the gateway is back.`);
    return decision.error.message;
  }
  return undefined;
}

/** A Zap that halts has no later step that could end its run: it ends here. One that is only paused goes on when it is resumed. */
export async function endRefused({ run, deliver }: Attached, { refusal }: Extract<Decision, { type: 'denied' }>): Promise<void> {
  const isFinal = refusal.code === 'budget_exceeded' || refusal.code === 'policy_denied' || refusal.code === 'price_unknown';
  if (!isFinal || refusal.details?.['run_status'] === 'paused') return;
  await run.end({ status: 'failed', reason: haltedText(refusal) });
  // The refusal is what the user must see; that the end could not be reported is not.
  await deliver().catch(() => undefined);
}

function orThrowError(decision: Decision): unknown {
  try {
    return orThrow(decision);
  } catch (error) {
    return error;
  }
}

/** As node-fetch, which Zapier uses, tells a timeout. */
function isSlow(fault: unknown): boolean {
  return (
    typeof fault === 'object' && fault !== null && 'type' in fault && (fault.type === 'request-timeout' || fault.type === 'body-timeout')
  );
}

function unreachable(base: string, fault: unknown): string {
  const code = typeof fault === 'object' && fault !== null && 'code' in fault && typeof fault.code === 'string' ? fault.code : undefined;
  const why = isSlow(fault) ? 'no answer in time' : (code ?? 'the connection failed');
  return `Runpurse could not be reached at ${base} (${why}). Check the gateway's address in the connection, that it is running, and that it can be reached from the internet.`;
}
