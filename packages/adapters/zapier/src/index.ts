import { version as platformVersion } from 'zapier-platform-core';
import { authentication } from './authentication.ts';
import { authorizeSpend } from './creates/authorize-spend.ts';
import { chatCompletion } from './creates/chat-completion.ts';
import { endRun } from './creates/end-run.ts';
import { recordCost } from './creates/record-cost.ts';
import { startRun } from './creates/start-run.ts';
import { budgetStatus } from './searches/budget-status.ts';
import { findRun } from './searches/find-run.ts';
import { findSession } from './searches/find-session.ts';
import { listAgents, listModels, listRuns, listTools, listWorkflows } from './triggers/lists.ts';
import { callRefused, callRefusedPolled, runEnded, runEndedPolled, thresholdCrossed, thresholdCrossedPolled } from './triggers/notices.ts';

/** Keyed by their own keys, as Zapier wants it. */
function byKey<One extends { readonly key: string }>(...all: readonly One[]): Record<string, One> {
  return Object.fromEntries(all.map((one) => [one.key, one]));
}

/** As in package.json; a test holds them to one. */
const VERSION = '0.1.0';

/** The Zapier app. */
const app = {
  version: VERSION,
  platformVersion,
  authentication,
  triggers: {
    ...byKey(runEnded, thresholdCrossed, callRefused),
    ...byKey(runEndedPolled, thresholdCrossedPolled, callRefusedPolled),
    ...byKey(listModels, listRuns, listTools, listWorkflows, listAgents),
  } as Record<string, typeof runEnded>,
  creates: byKey(startRun, authorizeSpend, recordCost, chatCompletion, endRun),
  searches: byKey(findRun, findSession, budgetStatus),
  flags: { skipHttpPatch: true },
};

export default app;
