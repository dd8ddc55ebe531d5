import { Command } from 'commander';
import { createBudgetBook } from '../../admit/budget-book.ts';
import { budgetWire } from '../../api/budget-wire.ts';
import { withAdmin } from '../data-directory.ts';
import { configFrom, configOption, dataOption, jsonOption } from '../options.ts';
import { table, terminalOutput } from '../output.ts';

interface ListOptions {
  readonly data: string;
  readonly config?: string;
  readonly json?: boolean;
}

export function listBudgetsCommand(): Command {
  return new Command('list')
    .description('all budgets: of the configuration, the API and this command')
    .addOption(dataOption())
    .addOption(configOption())
    .addOption(jsonOption())
    .action((options: ListOptions) => listBudgets(options));
}

async function listBudgets(options: ListOptions): Promise<void> {
  const output = terminalOutput();
  const book = createBudgetBook(configFrom(options.config).config.budgets);
  book.reload(await withAdmin(options.data, { create: false }, (admin) => admin.budgets()));
  const budgets = book.all().map(budgetWire);
  if (options.json === true) {
    output.json({ data: budgets });
    return;
  }
  const rows = budgets.map((budget) => [
    budget.budget_id,
    budget.workspace_id ?? '*',
    `${budget.scope}:${budget.id}`,
    budget.window,
    `$${budget.limit_usd}`,
    budget.action === 'block' && budget.on_exceed === 'clamp' ? 'clamp' : budget.action,
    budget.origin,
  ]);
  output.line(table([['BUDGET', 'WORKSPACE', 'SCOPE', 'WINDOW', 'LIMIT', 'ACTION', 'FROM'], ...rows]));
}
