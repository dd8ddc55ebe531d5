import type { RefusalCode } from '@runpurse/core';
import type { Scenario } from './scenario.ts';

/**
 * How model calls travel. `carried`: through the gateway, which prices them itself. `direct`: straight to the provider;
 * the adapter asks the gateway before the call and reports the usage after it. The run that comes out is the same.
 */
export const MODES = ['carried', 'direct'] as const;
export type Mode = (typeof MODES)[number];

/** What the suite hands to a harness for one play. Everything the framework needs comes from here. */
export interface PlayEnv {
  readonly mode: Mode;
  /** The gateway's address without path, such as `http://127.0.0.1:4321`; for the adapter's client. */
  readonly gatewayUrl: string;
  /** The virtual key of the adapter's client. */
  readonly apiKey: string;
  /**
   * Where the framework's own model client points, an OpenAI-compatible base URL ending in `/v1`, and the key it sends.
   * Carried: the gateway and the virtual key. Direct: the provider and the provider's key; no `Alephant-*` header may go there.
   */
  readonly model: { readonly baseUrl: string; readonly apiKey: string };
  /** The run id to use (a UUID). A framework that insists on its own returns it in the outcome. */
  readonly runId: string;
  readonly sessionId: string;
  readonly workflowId: string | undefined;
  readonly customerId: string | undefined;
  /** What the adapter does when the gateway can't be reached. */
  readonly failurePolicy: 'open' | 'closed';
  /** Runs a tool as the scenario scripts it and notes that it ran: resolves to its result, or throws what it throws. */
  runTool(name: string, args: Readonly<Record<string, unknown>>): Promise<string>;
  /** Aborted when the scenario cancels the agent; hand it to the framework as its user would. */
  readonly signal: AbortSignal;
}

/** How the agent's user saw the play end. `runId`: only when the framework chose another than `env.runId`. */
export type PlayOutcome = { readonly runId?: string | undefined } & (
  | { readonly type: 'completed'; readonly output: string }
  /** The framework's own kind of error surfaced, and the refusal behind it is this. */
  | { readonly type: 'refused'; readonly code: RefusalCode }
  /** The agent failed for a reason of its own: its model or its tool. */
  | { readonly type: 'failed'; readonly message: string }
  | { readonly type: 'cancelled' }
  /** The failure policy is `closed` and the gateway could not be reached. */
  | { readonly type: 'unavailable' }
);

/**
 * One adapter as the suite knows it. A harness builds the scenario's agent with the REAL framework, attaches the adapter
 * the way its README says, runs the task and resolves when all events are handed over; it never throws for how the
 * agent ended. By convention it lies in `packages/adapters/<name>/test/harness.ts` and is exported as `harness`.
 */
export interface AdapterHarness {
  /** The adapter's folder name, such as `langgraph`. */
  readonly name: string;
  readonly framework: { readonly name: string; readonly version: string };
  /** Leave a mode out only when the framework truly can't do it; say why in the adapter's README. */
  readonly modes: readonly Mode[];
  play(scenario: Scenario, env: PlayEnv): Promise<PlayOutcome>;
  /**
   * What the framework can't do: scenario name, or `name/mode`, to a reason a user understands. These run as expected
   * failures: one that passes fails the suite.
   */
  readonly exceptions: Readonly<Record<string, string>>;
}
