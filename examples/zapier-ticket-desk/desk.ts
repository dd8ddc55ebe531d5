import { join } from 'node:path';
import { startGatewayProcess } from '../support-agent/gateway-process.ts';

// Zapier's runner writes down each step unless it is a test.
process.env['NODE_ENV'] = 'test';
const { look, runZap, steps } = await import('./zap.ts');

const gateway = await startGatewayProcess(join(import.meta.dirname, 'runpurse.yaml'));
try {
  const connection = { base_url: gateway.url, api_key: gateway.key, failure_policy: 'closed' };
  const tickets = [
    { id: 'ticket-7', customer: 'ada', text: 'Where is order 7?' },
    { id: 'ticket-8', customer: 'ada', text: 'Tell me the story of every order.', urgent: true },
  ];
  for (const ticket of [...tickets, ...tickets.slice(0, 1)]) {
    console.log(`ticket ${ticket.id}: ${ticket.text}`);
    const { said, halted } = await runZap(connection, ticket);
    const { chat_completion: answer, end_run: end } = said;
    if (halted !== undefined) console.log(`  ${halted}\n`);
    else
      console.log(
        `  answer: ${String(answer?.['text'])}\n  cost $${String(end?.['total_usd'])}, sold for $${String(end?.['revenue_usd'])}, margin $${String(end?.['margin_usd'])}\n`,
      );
  }
  const [session] = await look(connection, steps.findSession, { session_id: 'ada' });
  console.log(
    `customer ada: ${String(session?.['runs'])} runs, $${String(session?.['total_usd'])}, margin $${String(session?.['margin_usd'])}`,
  );
  for (const refused of await look(connection, steps.callRefused))
    console.log(`alert: ${String(refused['call'])} refused in ${String(refused['run_id'])} by ${String(refused['blocked_by'])}`);
} finally {
  await gateway.stop();
}
