import { Command } from 'commander';
import { CliError } from '../cli-error.ts';
import { withViews, workspaceOf } from '../data-directory.ts';
import { readRunFrom } from '../read-views.ts';
import { configFrom, configOption, dataOption, jsonOption, workspaceOption } from '../options.ts';
import { terminalOutput } from '../output.ts';
import { budgetLines, costLines, headLines } from '../run-text.ts';

interface ShowOptions {
  readonly data: string;
  readonly config?: string;
  readonly workspace?: string;
  readonly json?: boolean;
}

export function showRunCommand(): Command {
  return new Command('show')
    .description('what a run cost and how its budgets stand; `explain` tells it step by step')
    .argument('<run_id>')
    .addOption(dataOption())
    .addOption(configOption())
    .addOption(workspaceOption())
    .addOption(jsonOption())
    .action((runId: string, options: ShowOptions) => showRun(runId, options));
}

async function showRun(runId: string, options: ShowOptions): Promise<void> {
  const output = terminalOutput();
  const { config } = configFrom(options.config);
  const run = await withViews(options.data, (admin) => readRunFrom(admin, config, workspaceOf(admin, options.workspace), runId));
  if (run === undefined) throw new CliError(`There is no run ${runId} in this workspace. \`runpurse runs list\` shows the ids.`);
  if (options.json === true) {
    output.json(run);
    return;
  }
  for (const line of [...headLines(run), ...costLines(run), ...budgetLines(run.budgets)]) output.line(line);
}
