/**
 * Who and what a call belongs to: the units of cost. Every id is the caller's own text; `undefined` means not stated.
 * The names follow the Alephant protocol's AgentContext; `runpurse-*` header spellings carry the same fields.
 */
export interface AgentContext {
  readonly agentId?: string | undefined;
  readonly agentName?: string | undefined;
  readonly runId?: string | undefined;
  readonly sessionId?: string | undefined;
  readonly sessionName?: string | undefined;
  readonly sessionPath?: string | undefined;
  readonly workflowId?: string | undefined;
  readonly customerId?: string | undefined;
  readonly stepId?: string | undefined;
  readonly parentStepId?: string | undefined;
  readonly toolCallId?: string | undefined;
  readonly handoffId?: string | undefined;
  readonly graphNode?: string | undefined;
  /** The agent loop's own counter, an unsigned 32-bit integer. */
  readonly iteration?: number | undefined;
  readonly stateHash?: string | undefined;
  readonly stepKind?: StepKind | undefined;
  readonly stepSource?: StepSource | undefined;
  /** 1 for the first try of a step, 2 for its first retry. */
  readonly attempt?: number | undefined;
  readonly inputHash?: string | undefined;
  /** Free metadata from `alephant-property-*`, by lower-case name without the prefix. */
  readonly properties?: Readonly<Record<string, string>> | undefined;
}

/** What an agent does in a step (Alephant protocol, facts §2c). */
export const STEP_KINDS = [
  'planning',
  'reasoning',
  'llm_call',
  'tool_call',
  'tool_result',
  'handoff',
  'approval',
  'checkpoint',
  'final_answer',
  'retry',
  'error_recovery',
  'unknown',
] as const;
export type StepKind = (typeof STEP_KINDS)[number];

/** How a step was recognised. */
export const STEP_SOURCES = ['runtime', 'gateway', 'rule', 'heuristic', 'unknown'] as const;
export type StepSource = (typeof STEP_SOURCES)[number];
