import type { PolicyPhase } from '../policy/policy.ts';
import { ask, askAgain, askModel, endCall } from './call-events.ts';
import { beginRun, bookFinance, endRun, requestApproval, updateAgain, updateRun } from './run-events.ts';
import { nothing, type Taken, type Taking } from './taking.ts';
import { SKIPPED } from './verdict.ts';

type Take = (taking: Taking) => Taken;

/**
 * What each canonical type does, whatever phase, stage or confidence its sender claims. A type that is not here is logged.
 */
const BY_TYPE: Readonly<Record<string, Take>> = {
  'run.started': beginRun,
  'run.completed': (taking) => endRun(taking, 'completed'),
  'run.failed': (taking) => endRun(taking, 'failed'),
  'finance.recorded': bookFinance,
  'llm.call.started': (taking) => askModel(taking),
  'llm.call.completed': (taking) => endCall(taking, 'model', 'completed'),
  'llm.call.failed': (taking) => endCall(taking, 'model', 'failed'),
  'tool.call.requested': (taking) => ask(taking, 'tool'),
  'tool.call.completed': (taking) => endCall(taking, 'tool', 'completed'),
  'tool.call.failed': (taking) => endCall(taking, 'tool', 'failed'),
  'tool.result.received': (taking) => endCall(taking, 'tool', 'completed'),
  'step.started': updateRun,
  'handoff.requested': updateRun,
  'approval.requested': requestApproval,
  'checkpoint.created': updateRun,
};

export const PHASE_BY_TYPE: Readonly<Record<string, PolicyPhase>> = {
  'llm.call.started': 'model_request',
  'llm.call.completed': 'model_request',
  'llm.call.failed': 'model_request',
  'tool.call.requested': 'tool_call',
  'tool.call.completed': 'tool_call',
  'tool.call.failed': 'tool_call',
  'tool.result.received': 'tool_call',
};

export function takeEvent(taking: Taking): Taken {
  return BY_TYPE[taking.read.event.type]?.(taking) ?? nothing(SKIPPED);
}

/** A second copy of a question gets the first one's answer; of a report, nothing happens twice. */
export function answerAgain(taking: Taking): Taken {
  const { type } = taking.read.event;
  if (taking.reportsOnly) return nothing(SKIPPED);
  if (type === 'tool.call.requested') return askAgain(taking, 'tool');
  if (type === 'llm.call.started') return askAgain(taking, 'model');
  const take = BY_TYPE[type];
  return take === updateRun || take === requestApproval || take === beginRun ? updateAgain(taking) : nothing(SKIPPED);
}
