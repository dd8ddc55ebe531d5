import { Command } from 'commander';
import { deleteBudgetCommand } from './delete.ts';
import { listBudgetsCommand } from './list.ts';
import { setBudgetCommand } from './set.ts';

export function budgetsCommand(): Command {
  return new Command('budgets')
    .description('budgets beside those of runpurse.yaml; a running gateway takes changes over at once')
    .addCommand(listBudgetsCommand())
    .addCommand(setBudgetCommand())
    .addCommand(deleteBudgetCommand());
}
