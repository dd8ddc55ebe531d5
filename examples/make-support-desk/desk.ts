import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadApp, openConnection, playBlueprint, type Blueprint } from '@runpurse/make/renderer';
import { startGatewayProcess } from '../support-agent/gateway-process.ts';

const read = (name: string): Blueprint =>
  JSON.parse(readFileSync(join(import.meta.dirname, `${name}.blueprint.json`), 'utf8')) as Blueprint;

const tickets = [
  { ticket: '7', customer: 'ada', question: 'Where is order 7?', length: 100 },
  { ticket: '8', customer: 'ada', question: 'Tell me the story of every order.', length: 4000 },
];

const gateway = await startGatewayProcess(join(import.meta.dirname, 'runpurse.yaml'));
try {
  const player = await openConnection(loadApp(), { url: gateway.url, apiKey: gateway.key });
  let sent = 0;
  const others = {
    'http:ActionSendData': () => {
      sent += 1;
      return { statusCode: 200 };
    },
  };
  for (const ticket of [...tickets, tickets[0]].filter((one) => one !== undefined)) {
    console.log(`ticket ${ticket.ticket}: ${ticket.question}`);
    const { end, bundles } = await playBlueprint(read('support-desk'), ticket, player, others);
    if (end.type === 'completed') {
      const { total_cost_usd: cost, revenue_usd: revenue, margin_usd: margin } = bundles[9] ?? {};
      console.log(
        `  ${String(bundles[7]?.['content'])}\n  cost $${String(cost)}, sold for $${String(revenue)}, margin $${String(margin)}\n`,
      );
    } else console.log(`  ${end.error.type}: ${end.error.message}\n`);
  }
  console.log(`requests to the CRM and the desk: ${sent}`);

  const session = await player.action('getSession', { session_id: 'ada' });
  console.log(
    `customer ada: ${(session['run_ids'] as unknown[]).length} runs, $${String(session['total_cost_usd'])}, margin $${String(session['margin_usd'])}`,
  );

  const posted: unknown[] = [];
  for (const notice of await player.poll('pollCallRefused', { date: 0, ids: [] }))
    await playBlueprint(read('refusal-alert'), notice, player, {
      'http:ActionSendData': ({ data }) => ({ statusCode: posted.push(data) }),
    });
  for (const alert of posted) console.log(`alert: ${String(alert).split(':')[0] ?? ''}`);
} finally {
  await gateway.stop();
}
