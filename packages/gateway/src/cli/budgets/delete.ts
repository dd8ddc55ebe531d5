import { Command } from 'commander';
import { CliError } from '../cli-error.ts';
import { withAdmin } from '../data-directory.ts';
import { dataOption, jsonOption } from '../options.ts';
import { terminalOutput } from '../output.ts';

export function deleteBudgetCommand(): Command {
  return new Command('delete')
    .description('remove a budget made by the API or this command')
    .argument('<budget_id>', 'id as `budgets list` shows it')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action((budgetId: string, options: { data: string; json?: boolean }) => deleteBudget(budgetId, options));
}

async function deleteBudget(budgetId: string, options: { readonly data: string; readonly json?: boolean }): Promise<void> {
  const output = terminalOutput();
  if (budgetId.startsWith('config_')) throw new CliError(`Budget ${budgetId} stands in runpurse.yaml: take it out there.`);
  const deleted = await withAdmin(options.data, { create: false }, (admin) => admin.deleteBudget(budgetId));
  if (!deleted) throw new CliError(`There is no budget ${budgetId}. \`runpurse budgets list\` shows the ids.`);
  if (options.json === true) output.json({ budget_id: budgetId, deleted: true });
  else output.line(`Budget ${budgetId} is removed.`);
}
