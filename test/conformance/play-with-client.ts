import { readFileSync } from 'node:fs';
import { refusalOf, type GatewayClient } from '@runpurse/core';
import { createClient } from '@runpurse/core/axios';
import type { PlayEnv, PlayOutcome } from './harness.ts';

/**
 * The frame of a harness: a client as the scenario wants it, handed to what plays, and closed when all is handed over.
 * What resolves is the agent's answer; what throws is told as its outcome.
 */
export async function playWithClient(source: string, env: PlayEnv, play: (client: GatewayClient) => Promise<string>): Promise<PlayOutcome> {
  const client = createClient({
    baseUrl: env.gatewayUrl,
    apiKey: env.apiKey,
    source,
    failurePolicy: { authorize: env.failurePolicy },
    flushOnExit: false,
    onProblem: () => {},
  });
  try {
    return { type: 'completed', output: await play(client) };
  } catch (error) {
    return outcomeOf(error, env.signal);
  } finally {
    await client.close();
  }
}

/** How a play ended by what the framework threw; refusals and our own errors are found however deep it wrapped them. */
export function outcomeOf(error: unknown, signal: AbortSignal): PlayOutcome {
  if (signal.aborted) return { type: 'cancelled' };
  const refusal = refusalOf(error);
  if (refusal !== undefined) return { type: 'refused', code: refusal.code };
  if (codesOf(error).includes('gateway_unavailable')) return { type: 'unavailable' };
  return { type: 'failed', message: error instanceof Error ? error.message : String(error) };
}

function codesOf(error: unknown): unknown[] {
  if (typeof error !== 'object' || error === null) return [];
  const { code, cause, error: inner } = error as { readonly code?: unknown; readonly cause?: unknown; readonly error?: unknown };
  return [code, ...codesOf(cause), ...codesOf(inner)];
}

/** The version of a framework that an adapter is tested with: what its package.json pins. `folder`: its test folder. */
export function testedVersion(folder: string, packageName: string): string {
  const manifest = JSON.parse(readFileSync(new URL('../package.json', `file://${folder}/`), 'utf8')) as {
    readonly devDependencies?: Readonly<Record<string, string>>;
  };
  return manifest.devDependencies?.[packageName] ?? 'unknown';
}
