import type { Bundle, Search, ZObject } from 'zapier-platform-core';
import { RUN_STATUSES, type RunSummaryShape } from '@runpurse/core';
import { read } from '../attach.ts';
import { RUN_OUT, RUN_SAMPLE } from '../fields.ts';
import { choiceIfAny, contextOf, invalid } from '../inputs.ts';
import { runRow } from '../translate.ts';
import { readRun } from '../tries.ts';

/** A run by its id, or the newest that fits. */
async function perform(z: ZObject, bundle: Bundle): Promise<object[]> {
  const input = bundle.inputData;
  const { sessionId, workflowId, agentId, customerId, ...context } = contextOf(z, input, undefined);
  const status = choiceIfAny(z, input, 'status', 'Status', RUN_STATUSES);
  let { runId } = context;
  if (runId === undefined) {
    const filters = { session_id: sessionId, workflow_id: workflowId, agent_id: agentId, customer_id: customerId, status };
    const query = new URLSearchParams({ limit: '1' });
    for (const [name, value] of Object.entries(filters)) if (value !== undefined) query.set(name, value);
    if (query.size === 1) throw invalid(z, 'Say which run to find: fill in at least one field.');
    const page = await read<{ readonly data: readonly RunSummaryShape[] }>(z, bundle, `/v1/runs?${query.toString()}`);
    runId = page?.data[0]?.run_id;
  }
  const run = runId === undefined ? undefined : await readRun(z, bundle, runId);
  return run === undefined ? [] : [runRow(run)];
}

export const findRun: Search = {
  key: 'find_run',
  noun: 'Run',
  display: { label: 'Find Run', description: 'Finds a run with its cost, its margin and what its budgets leave.' },
  operation: {
    perform,
    inputFields: [
      { key: 'run_id', label: 'Run ID', type: 'string', required: false, helpText: 'Or the newest run that fits the fields below.' },
      { key: 'session_id', label: 'Session ID', type: 'string', required: false },
      { key: 'workflow_id', label: 'Workflow', type: 'string', required: false, dynamic: 'list_workflows.id.label' },
      { key: 'agent_id', label: 'Agent', type: 'string', required: false, dynamic: 'list_agents.id.label' },
      { key: 'customer_id', label: 'Customer ID', type: 'string', required: false },
      {
        key: 'status',
        label: 'Status',
        type: 'string',
        required: false,
        choices: { running: 'Running', completed: 'Completed', failed: 'Failed', stopped: 'Stopped', paused: 'Paused' },
      },
    ],
    sample: RUN_SAMPLE,
    outputFields: RUN_OUT as Search['operation']['outputFields'] & object,
  },
};
