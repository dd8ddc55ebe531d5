import { createRequire } from 'node:module';
import zapier from 'zapier-platform-core';
import app from '../src/index.ts';

/**
 * Zapier's runner takes its process for a Lambda unless it sees a test runner it knows: it writes down each step, and ends
 * the process when it grew large after 250 of them. Here hundreds are played on purpose.
 */
const runner = createRequire(import.meta.url)('zapier-platform-core/src/constants') as { IS_TESTING: boolean; KILL_MIN_LIMIT: number };
runner.IS_TESTING = true;
runner.KILL_MIN_LIMIT = Number.POSITIVE_INFINITY;

export type Row = Readonly<Record<string, unknown>>;

/** A Zap's connection to the app, and its steps as Zapier runs them: inputs without what was left empty. */
export interface Zap {
  create(key: string, inputData: object): Promise<Row>;
  search(key: string, inputData: object): Promise<readonly Row[]>;
  /** Any function of the app, with a bundle of its own. */
  run<Result>(perform: unknown, bundle?: object): Promise<Result>;
  readonly auth: Readonly<Record<string, string>>;
}

export interface Connection {
  readonly baseUrl: string;
  readonly apiKey: string;
  readonly failurePolicy?: 'open' | 'closed';
}

export function openZap({ baseUrl, apiKey, failurePolicy = 'open' }: Connection, zapId?: string): Zap {
  const auth = { base_url: baseUrl, api_key: apiKey, failure_policy: failurePolicy };
  const test = zapier.createAppTester(app) as unknown as (perform: unknown, bundle: object) => Promise<never>;
  const run = <Result>(perform: unknown, bundle: object = {}): Promise<Result> =>
    test(perform, {
      authData: auth,
      ...(zapId === undefined ? {} : { meta: { zap: { id: zapId, user: { timezone: 'UTC' } } } }),
      ...bundle,
    });
  const cleaned = (inputData: object): object => ({
    inputData: Object.fromEntries(Object.entries(inputData).filter(([, value]) => value !== undefined && value !== '')),
  });
  return {
    auth,
    run,
    create: (key, inputData) => run(app.creates[key]?.operation.perform, cleaned(inputData)),
    search: (key, inputData) => run(app.searches[key]?.operation.perform, cleaned(inputData)),
  };
}
