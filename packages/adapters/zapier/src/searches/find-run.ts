import type { Bundle, Search, ZObject } from 'zapier-platform-core';
import type { RunSummaryShape } from '@runpurse/core';
import { read } from '../attach.ts';
import { RUN_OUT, RUN_SAMPLE } from '../fields.ts';
import { runRow, textOf } from '../translate.ts';
import { readRun } from '../tries.ts';

const FILTERS = ['session_id', 'workflow_id', 'agent_id', 'customer_id', 'status'] as const;

/** A run by its id, or the newest that fits. */
async function perform(z: ZObject, bundle: Bundle): Promise<object[]> {
  const input = bundle.inputData;
  let runId = textOf(input, 'run_id');
  if (runId === undefined) {
    const query = new URLSearchParams({ limit: '1' });
    for (const name of FILTERS) {
      const value = textOf(input, name);
      if (value !== undefined) query.set(name, value);
    }
    if (query.size === 1) throw new z.errors.Error('Say which run to find: fill in at least one field.', 'invalid_input', 400);
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
