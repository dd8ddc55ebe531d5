export { formatUsd, parseUsd, type Nanos } from './money/nanos.ts';
export { STEP_KINDS, STEP_SOURCES, type AgentContext, type StepKind, type StepSource } from './attribution/context.ts';
export { REFUSALS, type Refusal, type RefusalCode } from './decisions/refusal.ts';
export { GatewayUnavailableError, RefusedError, RunpurseError } from './errors/runpurse-error.ts';
export {
  RUN_STATUSES,
  budgetStateShape,
  costShape,
  countsShape,
  decisionShape,
  marginShape,
  requestShape,
  runShape,
  runSummaryShape,
  sessionShape,
  stepShape,
  toolShape,
  usageShape,
  usd,
  type BudgetStateShape,
  type DecisionShape,
  type RequestShape,
  type RunShape,
  type RunStatus,
  type RunSummaryShape,
  type SessionShape,
  type StepShape,
  type ToolShape,
  type UsageShape,
} from './shapes/run.ts';
