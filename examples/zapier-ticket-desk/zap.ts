import app from '@runpurse/zapier';
import zapier from 'zapier-platform-core';

type Row = Readonly<Record<string, unknown>>;

/** A ticket as the help desk's trigger hands it over. */
export interface Ticket extends Row {
  readonly id: string;
  readonly customer: string;
  readonly text: string;
}

/** The Zap, as one builds it in Zapier's editor: our steps around the CRM's. */
export const TICKET_ZAP: readonly { readonly step: string; readonly map: (ticket: Ticket, said: Readonly<Record<string, Row>>) => Row }[] =
  [
    { step: 'start_run', map: ({ id, customer }) => ({ run_id: id, session_id: customer, workflow_id: 'ticket-desk', agent_id: 'desk' }) },
    {
      step: 'authorize_spend',
      map: ({ id }, { start_run }) => ({ run_id: start_run?.['run_id'], kind: 'tool', name: 'crm_lookup', call_id: id }),
    },
    { step: 'crm_lookup', map: ({ customer }) => ({ customer }) },
    {
      step: 'record_cost',
      map: (_ticket, { authorize_spend }) => ({
        run_id: authorize_spend?.['run_id'],
        kind: 'tool',
        name: 'crm_lookup',
        call_id: authorize_spend?.['call_id'],
      }),
    },
    {
      step: 'chat_completion',
      map: ({ text, urgent }, { start_run, crm_lookup }) => ({
        run_id: start_run?.['run_id'],
        model: 'sandbox/support-model',
        instructions: `Answer ${String(crm_lookup?.['name'])}, plan ${String(crm_lookup?.['plan'])}.`,
        prompt: text,
        max_tokens: urgent === true ? 4000 : 400,
      }),
    },
    { step: 'end_run', map: (_ticket, { start_run }) => ({ run_id: start_run?.['run_id'], status: 'completed', revenue_usd: '0.03' }) },
  ];

/** The CRM's app in the same Zap; Runpurse sees nothing of it. */
const crmLookup = (_input: Row): Row => ({ name: 'Ada Lovelace', plan: 'pro' });

/** Runs the Zap for a ticket, in Zapier's own runner. Resolves to what each step said, and why it halted if it did. */
export async function runZap(
  authData: Record<string, string>,
  ticket: Ticket,
): Promise<{ readonly said: Readonly<Record<string, Row>>; readonly halted?: string }> {
  const run = zapier.createAppTester(app) as unknown as (perform: unknown, bundle: object) => Promise<Row>;
  const said: Record<string, Row> = {};
  for (const { step, map } of TICKET_ZAP) {
    const inputData = map(ticket, said);
    try {
      said[step] = step === 'crm_lookup' ? crmLookup(inputData) : await run(app.creates[step]?.operation.perform, { authData, inputData });
    } catch (error) {
      if (error instanceof Error && error.name === 'HaltedError') return { said, halted: firstLine(error.message) };
      throw error;
    }
  }
  return { said };
}

/** Below it Zapier's runner tells what the step did. */
function firstLine(text: string): string {
  return text.split('\n')[0] ?? text;
}

/** What a trigger or search of the app gives. */
export function look(authData: Record<string, string>, perform: unknown, inputData: Row = {}): Promise<readonly Row[]> {
  const run = zapier.createAppTester(app) as unknown as (perform: unknown, bundle: object) => Promise<readonly Row[]>;
  return run(perform, { authData, inputData });
}

/** The app's own functions by the names the editor shows. */
export const steps = {
  findSession: app.searches['find_session']?.operation.perform,
  callRefused: (app.triggers['call_refused_polled'] as unknown as { readonly operation: { readonly perform: unknown } }).operation.perform,
};
