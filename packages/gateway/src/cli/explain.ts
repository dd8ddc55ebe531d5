import { Command } from 'commander';
import { CliError } from './cli-error.ts';
import { withViews, workspaceOf } from './data-directory.ts';
import { configFrom, configOption, dataOption, jsonOption, workspaceOption } from './options.ts';
import { terminalOutput } from './output.ts';
import { readRunFrom } from './read-views.ts';
import { budgetLines, costLines, headLines, policyLine, traceLines } from './run-text.ts';

interface ExplainOptions {
  readonly data: string;
  readonly config?: string;
  readonly workspace?: string;
  readonly json?: boolean;
}

export function explainCommand(): Command {
  return new Command('explain')
    .description('tell a run step by step: what it cost, what was refused and why, and what to do')
    .argument('<run_id>')
    .addOption(dataOption())
    .addOption(configOption())
    .addOption(workspaceOption())
    .addOption(jsonOption())
    .action((runId: string, options: ExplainOptions) => explain(runId, options));
}

async function explain(runId: string, options: ExplainOptions): Promise<void> {
  const output = terminalOutput();
  const { config } = configFrom(options.config);
  const run = await withViews(options.data, (admin) => readRunFrom(admin, config, workspaceOf(admin, options.workspace), runId));
  if (run === undefined) throw new CliError(`There is no run ${runId} in this workspace. \`runpurse runs list\` shows the ids.`);
  const trace = traceLines(run);
  if (options.json === true) {
    output.json({
      run_id: run.run_id,
      status: run.status,
      trace,
      policy: policyLine(run),
      cost: run.cost,
      revenue_usd: run.revenue_usd,
      margin: run.margin,
      budgets: run.budgets,
    });
    return;
  }
  for (const line of [...headLines(run), '', ...trace, '', ...costLines(run), policyLine(run), ...budgetLines(run.budgets)])
    output.line(line);
}
