import type { Bundle, Trigger, ZObject } from 'zapier-platform-core';
import type { RunSummaryShape } from '@runpurse/core';
import { read } from '../attach.ts';

/** What the dropdowns offer: hidden triggers, as Zapier has it. Each field also takes what is not listed. */

interface Choice {
  readonly id: string;
  readonly label: string;
}

const LISTED = 100;

function listTrigger(key: string, noun: string, list: (z: ZObject, bundle: Bundle) => Promise<readonly Choice[]>): Trigger {
  return {
    key,
    noun,
    display: { label: `List of ${noun}s`, description: `Fills the dropdowns of ${noun.toLowerCase()}s.`, hidden: true },
    operation: { type: 'polling', perform: list as () => Promise<[]>, canPaginate: false, sample: { id: 'one', label: 'one' } },
  };
}

export const listModels = listTrigger('list_models', 'Model', async (z, bundle) =>
  ((await read<{ readonly data: readonly { readonly id: string }[] }>(z, bundle, '/v1/models'))?.data ?? []).map(({ id }) => ({
    id,
    label: id,
  })),
);

export const listRuns = listTrigger('list_runs', 'Run', async (z, bundle) =>
  ((await read<{ readonly data: readonly RunSummaryShape[] }>(z, bundle, `/v1/runs?limit=${LISTED}`))?.data ?? []).map((run) => ({
    id: run.run_id,
    label: `${run.run_id} (${run.status}, $${run.cost.total_usd})`,
  })),
);

const spenders = (by: 'workflow' | 'agent' | 'tool') => async (z: ZObject, bundle: Bundle) =>
  ((await read<{ readonly data: readonly { readonly id: string }[] }>(z, bundle, `/v1/spend?by=${by}&limit=${LISTED}`))?.data ?? []).map(
    ({ id }) => ({ id, label: id }),
  );

export const listWorkflows = listTrigger('list_workflows', 'Workflow', spenders('workflow'));
export const listAgents = listTrigger('list_agents', 'Agent', spenders('agent'));
export const listTools = listTrigger('list_tools', 'Tool', spenders('tool'));
