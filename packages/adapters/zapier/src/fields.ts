/** Input and output fields that several steps share, and the samples Zapier shows before anything ran. */

type Field = Readonly<Record<string, unknown>> & { readonly key: string };

export const RUN_ID: Field = {
  key: 'run_id',
  label: 'Run ID',
  type: 'string',
  required: true,
  dynamic: 'list_runs.id.label',
  search: 'find_run.run_id',
  helpText: 'The run this step belongs to: map the Run ID of your **Start Run** step.',
};

export const CALL_ID: Field = {
  key: 'call_id',
  label: 'Call ID',
  type: 'string',
  required: true,
  helpText:
    'Names this call within its run, unlike every other step’s: a word such as `lookup`, followed in a loop by its iteration number. The trigger’s ID alone will not do, it is the same for all steps. With the same Call ID a replayed step is charged once, and one that says something else is refused.',
};

export const KIND: Field = {
  key: 'kind',
  label: 'Kind of Call',
  type: 'string',
  required: true,
  default: 'tool',
  choices: { tool: 'Tool or API', model: 'Model (by another AI app)' },
  altersDynamicFields: true,
};

/** Where the work belongs; stated once for a run, later steps inherit it. */
export const PLACE: readonly Field[] = [
  {
    key: 'session_id',
    label: 'Session ID',
    type: 'string',
    required: false,
    helpText: 'The customer, ticket or conversation that several runs belong to.',
  },
  {
    key: 'workflow_id',
    label: 'Workflow',
    type: 'string',
    required: false,
    dynamic: 'list_workflows.id.label',
    helpText: 'Left empty, this Zap.',
  },
  { key: 'agent_id', label: 'Agent', type: 'string', required: false, dynamic: 'list_agents.id.label' },
  { key: 'customer_id', label: 'Customer ID', type: 'string', required: false },
];

export const PARENT_STEP: Field = {
  key: 'parent_step_id',
  label: 'Parent Call ID',
  type: 'string',
  required: false,
  helpText: 'Only for a call made inside another one, as a nested agent does.',
};

export const ON_REFUSAL: Field = {
  key: 'on_refusal',
  label: 'When Refused',
  type: 'string',
  required: false,
  default: 'halt',
  choices: { halt: 'Stop the Zap and end the run as failed', continue: 'Go on, and say so in "Allowed" and "Reason"' },
  helpText:
    'In a Zap with **Paths** or a loop choose to go on, and put a **Filter** on "Allowed" after this step: the other branches and rounds work on, and would find their run ended.',
};

const usd = (key: string, label: string): Field => ({ key, label, type: 'number' });
const text = (key: string, label: string): Field => ({ key, label, type: 'string' });
const count = (key: string, label: string): Field => ({ key, label, type: 'integer' });
const time = (key: string, label: string): Field => ({ key, label, type: 'datetime' });

const MONEY_OUT: readonly Field[] = [
  usd('total_usd', 'Total Cost (USD)'),
  usd('model_usd', 'Model Cost (USD)'),
  usd('tool_usd', 'Tool Cost (USD)'),
  usd('retry_usd', 'Retry Cost (USD)'),
  usd('revenue_usd', 'Revenue (USD)'),
  usd('margin_usd', 'Known Margin (USD)'),
  usd('margin_percent', 'Known Margin (%)'),
  text('margin_unknown', 'Margin Does Not Know'),
  count('requests', 'Model Calls'),
  count('tool_calls', 'Tool Calls'),
  count('retries', 'Retries'),
  usd('remaining_usd', 'Remaining (USD)'),
  text('budget_state', 'Budget State'),
];
const PLACE_OUT: readonly Field[] = [
  text('session_id', 'Session ID'),
  text('workflow_id', 'Workflow'),
  text('agent_id', 'Agent'),
  text('customer_id', 'Customer ID'),
];

export const RUN_OUT: readonly Field[] = [
  text('id', 'ID'),
  text('run_id', 'Run ID'),
  ...PLACE_OUT,
  text('status', 'Status'),
  text('status_reason', 'Reason'),
  time('started_at', 'Started At'),
  time('ended_at', 'Ended At'),
  ...MONEY_OUT,
  count('steps', 'Steps'),
];

export const SESSION_OUT: readonly Field[] = [
  text('id', 'ID'),
  ...PLACE_OUT,
  time('started_at', 'Started At'),
  time('ended_at', 'Ended At'),
  count('runs', 'Runs'),
  count('failed_runs', 'Failed Runs'),
  ...MONEY_OUT,
];

export const BUDGET_OUT: readonly Field[] = [
  text('id', 'ID'),
  text('level', 'Level'),
  text('scope_id', 'Of'),
  text('window', 'Window'),
  text('action', 'When Exceeded'),
  usd('cap_usd', 'Cap (USD)'),
  usd('spent_usd', 'Spent (USD)'),
  usd('reserved_usd', 'Reserved (USD)'),
  usd('remaining_usd', 'Remaining (USD)'),
  text('state', 'State'),
  { key: 'within_budget', label: 'Within Budget', type: 'boolean' },
];

export const THRESHOLD_OUT: readonly Field[] = [
  text('id', 'Notice ID'),
  time('created_at', 'Crossed At'),
  count('threshold_percent', 'Threshold (%)'),
  text('budget_id', 'Budget ID'),
  text('budget_name', 'Budget'),
  ...BUDGET_OUT.filter(({ key }) => key !== 'id' && key !== 'action' && key !== 'within_budget'),
  text('run_id', 'Run ID'),
  text('session_id', 'Session ID'),
];

export const REFUSED_OUT: readonly Field[] = [
  text('id', 'Notice ID'),
  time('created_at', 'Refused At'),
  text('run_id', 'Run ID'),
  text('session_id', 'Session ID'),
  text('workflow', 'Workflow'),
  text('agent', 'Agent'),
  text('step_id', 'Step ID'),
  text('tool_call_id', 'Call ID'),
  text('kind', 'Kind of Call'),
  text('call', 'Model or Tool'),
  text('code', 'Code'),
  text('message', 'Reason'),
  text('blocked_by', 'Refused By'),
];

/** What a step that asks or reports hands on beside its own. */
export const DECISION_OUT: readonly Field[] = [
  { key: 'allowed', label: 'Allowed', type: 'boolean' },
  text('decision', 'Decision'),
  text('reason', 'Reason'),
  text('warning', 'Warning'),
];
export const RECORDED_OUT: readonly Field[] = [
  { key: 'recorded', label: 'Recorded', type: 'boolean' },
  { key: 'already_recorded', label: 'Was Recorded Before', type: 'boolean' },
  text('warning', 'Warning'),
];
export const outText = text;
export const outUsd = usd;
export const outCount = count;

export const RUN_SAMPLE = {
  id: 'run_492',
  run_id: 'run_492',
  session_id: 'customer_492',
  workflow_id: 'zap_1',
  agent_id: 'support',
  customer_id: 'customer_492',
  status: 'completed',
  status_reason: null,
  started_at: '2026-11-24T10:00:00.000Z',
  ended_at: '2026-11-24T10:00:21.000Z',
  total_usd: '0.086',
  model_usd: '0.053',
  tool_usd: '0.002',
  retry_usd: '0.031',
  revenue_usd: '0.1',
  margin_usd: '0.014',
  margin_percent: '14.0',
  margin_unknown: '',
  requests: 4,
  tool_calls: 1,
  retries: 1,
  remaining_usd: '0.414',
  budget_state: 'ok',
  steps: 5,
};

export const SESSION_SAMPLE = {
  id: 'customer_492',
  session_id: 'customer_492',
  workflow_id: 'zap_1',
  agent_id: 'support',
  customer_id: 'customer_492',
  started_at: '2026-11-24T10:00:00.000Z',
  ended_at: null,
  runs: 5,
  failed_runs: 1,
  total_usd: '0.182',
  model_usd: '0.14',
  tool_usd: '0.01',
  retry_usd: '0.032',
  revenue_usd: '0.1',
  margin_usd: '-0.082',
  margin_percent: '-82.0',
  margin_unknown: '',
  requests: 11,
  tool_calls: 5,
  retries: 2,
  remaining_usd: '19.818',
  budget_state: 'ok',
};

export const BUDGET_SAMPLE = {
  id: 'session:customer_492:lifetime:20',
  level: 'session',
  scope_id: 'customer_492',
  window: 'lifetime',
  action: 'block',
  cap_usd: '20',
  spent_usd: '15.2',
  reserved_usd: '0.05',
  remaining_usd: '4.75',
  state: '75',
  within_budget: true,
};

export const THRESHOLD_SAMPLE = {
  id: 'ntc_6f1c0d2b',
  created_at: '2026-11-24T10:00:21.000Z',
  threshold_percent: 75,
  budget_id: 'bud_1',
  budget_name: 'session:*',
  level: 'session',
  scope_id: 'customer_492',
  window: 'lifetime',
  cap_usd: '20',
  spent_usd: '15.2',
  reserved_usd: '0.05',
  remaining_usd: '4.75',
  state: '75',
  run_id: 'run_492',
  session_id: 'customer_492',
};

export const REFUSED_SAMPLE = {
  id: 'ntc_9a7e4c11',
  created_at: '2026-11-24T10:00:21.000Z',
  run_id: 'run_492',
  session_id: 'customer_492',
  workflow: 'zap_1',
  agent: 'support',
  step_id: 'call_7',
  tool_call_id: null,
  kind: 'model',
  call: 'gpt-5-mini',
  code: 'budget_exceeded',
  message: 'Budget "run:*" refused the call to model gpt-5-mini before it was made. Nothing was called or charged.',
  blocked_by: 'run:*',
};
