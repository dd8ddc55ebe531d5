import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { z } from 'zod';
import { mintKey } from '../cli/mint-key.ts';
import type { gatewayConfig } from '../config/config.ts';
import { createGateway } from '../create-gateway.ts';
import type { Gateway } from '../gateway.ts';
import { createApi } from './index.ts';

export interface TestAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: { readonly [key: string]: unknown };
  readonly error: { readonly code: string; readonly message: string; readonly param: string | null; readonly [key: string]: unknown };
  readonly text: string;
}

export interface CallOptions {
  /** Sent as JSON; a string goes as it is. */
  readonly body?: unknown;
  readonly key?: string | null;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A real gateway in a folder of its own, called through its API without a socket. For tests of this room. */
export interface TestApi {
  readonly gateway: Gateway;
  readonly clock: { now(): number; turn(ms: number): void };
  /** Keys of workspace `acme`: a plain one, an admin one, one bound to agent `writer`; and one of workspace `other`. */
  readonly keys: { readonly plain: string; readonly admin: string; readonly bound: string; readonly other: string };
  /** Calls with the plain key unless told otherwise. */
  call(method: string, path: string, options?: CallOptions): Promise<TestAnswer>;
  get(path: string, options?: CallOptions): Promise<TestAnswer>;
  post(path: string, body: unknown, options?: CallOptions): Promise<TestAnswer>;
  close(): Promise<void>;
}

export async function openTestApi(config: z.input<typeof gatewayConfig> = {}): Promise<TestApi> {
  const directory = mkdtempSync(join(tmpdir(), 'runpurse-api-'));
  let now = Date.UTC(2026, 10, 24, 12);
  const clock = {
    now: () => now,
    turn(ms: number) {
      now += ms;
    },
  };
  const gateway = await createGateway({ config: { store: { durability: 'relaxed' }, ...config }, directory, clock });
  const mint = async (workspaceId: string, more: { readonly admin?: boolean; readonly agentId?: string } = {}): Promise<string> => {
    const { secret, stored } = mintKey({ workspaceId, admin: false, ...more }, gateway.ids, clock.now());
    await gateway.store.putKey(stored);
    return secret;
  };
  const keys = {
    plain: await mint('acme'),
    admin: await mint('acme', { admin: true }),
    bound: await mint('acme', { agentId: 'writer' }),
    other: await mint('other', { admin: true }),
  };
  const app = createApi(gateway, {
    onAnswer(route, status, body) {
      const declared = route.answers[status];
      if (declared === undefined) throw new Error(`${route.method} ${route.path} answered ${status}, which it does not declare`);
      declared.shape?.parse(body);
    },
  });

  const call: TestApi['call'] = async (method, path, { body, key = keys.plain, headers = {} } = {}) => {
    const response = await app.request(path, {
      method,
      headers: {
        ...(key === null ? {} : { authorization: `Bearer ${key}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    const isJson = (response.headers.get('content-type') ?? '').includes('json');
    const parsed = (isJson ? JSON.parse(text) : {}) as TestAnswer['body'] & { error?: TestAnswer['error'] };
    return {
      status: response.status,
      headers: response.headers,
      text,
      body: parsed,
      error: parsed.error ?? { code: '', message: '', param: null },
    };
  };
  return {
    gateway,
    clock,
    keys,
    call,
    get: (path, options) => call('GET', path, options),
    post: (path, body, options) => call('POST', path, { ...options, body }),
    async close() {
      await gateway.close();
      rmSync(directory, { recursive: true });
    },
  };
}
