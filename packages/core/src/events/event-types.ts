import type { StepKind } from '../attribution/context.ts';
import type { EventPhase, PolicyStage } from './agent-event.ts';

/** What a type says by itself, whatever its sender claims beside it. */
export interface TypeMeaning {
  readonly event_phase: EventPhase;
  readonly policy_stage: PolicyStage;
  readonly step_kind: StepKind;
}

const before = (step_kind: StepKind): TypeMeaning => ({ event_phase: 'before', policy_stage: 'pre_action', step_kind });
const after = (step_kind: StepKind): TypeMeaning => ({ event_phase: 'after', policy_stage: 'post_action', step_kind });
const state = (step_kind: StepKind): TypeMeaning => ({ event_phase: 'state', policy_stage: 'audit_only', step_kind });

/**
 * The canonical event types (Alephant protocol, facts §2c). Ours beside them: `llm.call.failed`, so that a failed call is
 * not taken for a step's failure, and `finance.recorded`, which books revenue, payments or fees on a run.
 */
export const EVENT_TYPES = {
  'run.started': before('planning'),
  'run.completed': after('final_answer'),
  'run.failed': after('error_recovery'),
  'step.started': state('unknown'),
  'step.completed': after('unknown'),
  'step.failed': after('unknown'),
  'llm.call.started': before('llm_call'),
  'llm.call.completed': after('llm_call'),
  'llm.call.failed': after('llm_call'),
  'tool.call.requested': before('tool_call'),
  'tool.call.completed': after('tool_call'),
  'tool.call.failed': after('tool_call'),
  'tool.result.received': after('tool_result'),
  'handoff.requested': before('handoff'),
  'handoff.completed': after('handoff'),
  'approval.requested': before('approval'),
  'checkpoint.created': state('checkpoint'),
  'finance.recorded': state('unknown'),
  policy_unavailable: state('unknown'),
  'tool.policy.blocked': state('tool_call'),
} as const satisfies Record<string, TypeMeaning>;

export type EventType = keyof typeof EVENT_TYPES;

export function isEventType(type: string): type is EventType {
  return Object.hasOwn(EVENT_TYPES, type);
}

/** A type nobody knows: logged, never asked about. */
export const NO_MEANING: TypeMeaning = { event_phase: 'unknown', policy_stage: 'audit_only', step_kind: 'unknown' };

const SUBJECTS: readonly (readonly [
  subject: 'tool' | 'llm' | 'handoff' | 'approval' | 'checkpoint' | 'run' | 'step',
  words: readonly string[],
])[] = [
  ['approval', ['approval']],
  ['tool', ['tool', 'tools']],
  ['llm', ['llm', 'model', 'completion', 'chat']],
  ['handoff', ['handoff']],
  ['checkpoint', ['checkpoint']],
  ['run', ['run', 'workflow', 'execution']],
  ['step', ['step', 'node', 'task', 'chain', 'span']],
];
const STAGES: readonly (readonly [stage: 'begins' | 'ends' | 'fails', words: readonly string[]])[] = [
  ['fails', ['failed', 'fail', 'failure', 'error', 'errored']],
  [
    'ends',
    [
      'completed',
      'complete',
      'finished',
      'finish',
      'ended',
      'end',
      'success',
      'succeeded',
      'done',
      'received',
      'result',
      'output',
      'occurred',
      'created',
    ],
  ],
  ['begins', ['started', 'start', 'requested', 'request', 'called', 'call', 'begin', 'began']],
];
const GUESSES: Readonly<Record<string, EventType>> = {
  'tool begins': 'tool.call.requested',
  'tool ends': 'tool.call.completed',
  'tool fails': 'tool.call.failed',
  'llm begins': 'llm.call.started',
  'llm ends': 'llm.call.completed',
  'llm fails': 'llm.call.failed',
  'handoff begins': 'handoff.requested',
  'handoff ends': 'handoff.completed',
  'approval begins': 'approval.requested',
  'checkpoint ends': 'checkpoint.created',
  'run begins': 'run.started',
  'run ends': 'run.completed',
  'run fails': 'run.failed',
  'step begins': 'step.started',
  'step ends': 'step.completed',
  'step fails': 'step.failed',
};

/** The words of a name: cut at punctuation, spaces and capitals, in lower case. `toolCallFailed` is `tool call failed`. */
export function wordsOf(name: string): readonly string[] {
  return name
    .replace(/([a-z0-9])([A-Z])/g, '$1 $2')
    .replace(/([A-Z])([A-Z][a-z])/g, '$1 $2')
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter((word) => word !== '');
}

/**
 * What an unmapped type of a stranger most likely is; undefined when its words don't say. Whole words only (`tooling`
 * is no tool), a negation says nothing, and an ending is never taken for a new request.
 */
export function guessEventType(type: string): EventType | undefined {
  const words = wordsOf(type.slice(0, 128));
  if (words.includes('not')) return undefined;
  const subject = SUBJECTS.find(([, known]) => known.some((word) => words.includes(word)))?.[0];
  const stage = STAGES.find(([, known]) => known.some((word) => words.includes(word)))?.[0];
  return subject === undefined || stage === undefined ? undefined : GUESSES[`${subject} ${stage}`];
}
