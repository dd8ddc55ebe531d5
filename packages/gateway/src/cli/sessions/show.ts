import { Command } from 'commander';
import { CliError } from '../cli-error.ts';
import { withViews, workspaceOf } from '../data-directory.ts';
import { readSessionFrom } from '../read-views.ts';
import { configFrom, configOption, dataOption, jsonOption, workspaceOption } from '../options.ts';
import { table, terminalOutput } from '../output.ts';
import { budgetLines, costLines } from '../run-text.ts';

interface ShowOptions {
  readonly data: string;
  readonly config?: string;
  readonly workspace?: string;
  readonly json?: boolean;
}

export function showSessionCommand(): Command {
  return new Command('show')
    .description('a session: its runs, cost, revenue and margin')
    .argument('<session_id>')
    .addOption(dataOption())
    .addOption(configOption())
    .addOption(workspaceOption())
    .addOption(jsonOption())
    .action((sessionId: string, options: ShowOptions) => showSession(sessionId, options));
}

async function showSession(sessionId: string, options: ShowOptions): Promise<void> {
  const output = terminalOutput();
  const { config } = configFrom(options.config);
  const session = await withViews(options.data, (admin) =>
    readSessionFrom(admin, config, workspaceOf(admin, options.workspace), sessionId),
  );
  if (session === undefined)
    throw new CliError(`There is no session ${sessionId} in this workspace. \`runpurse runs list\` shows the sessions of runs.`);
  if (options.json === true) {
    output.json(session);
    return;
  }
  output.line(
    `session: ${session.session_id}  (workspace ${session.workspace_id}${session.customer_id === null ? '' : `, customer ${session.customer_id}`})`,
  );
  output.line(table(session.runs.map((run) => [`  ${run.run_id}`, run.status, `$${run.cost.total_usd}`])));
  for (const line of [...costLines(session), ...budgetLines(session.budgets)]) output.line(line);
}
