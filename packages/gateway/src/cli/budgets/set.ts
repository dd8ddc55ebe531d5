import { Command, Option } from 'commander';
import { budgetWire } from '../../api/budget-wire.ts';
import { BUDGET_SCOPES } from '../../config/config.ts';
import { budgetBody, parseBudget } from '../../config/stored-budget.ts';
import { createIds } from '../../ids.ts';
import type { StoredBudget } from '../../store/store.ts';
import { CliError } from '../cli-error.ts';
import { withAdmin } from '../data-directory.ts';
import { dataOption, idText, jsonOption } from '../options.ts';
import { terminalOutput } from '../output.ts';

interface SetOptions {
  readonly data: string;
  readonly workspace?: string;
  readonly name?: string;
  readonly scope?: string;
  readonly id?: string;
  readonly window?: string;
  readonly limit?: string;
  readonly action?: string;
  readonly onExceed?: string;
  readonly thresholds?: string;
  readonly json?: boolean;
}

export function setBudgetCommand(): Command {
  return new Command('set')
    .description('make a budget, or change one by its id; a raised cap lets the runs go on that it paused')
    .argument('[budget_id]', 'of a budget to change; left out, one is made')
    .addOption(dataOption())
    .addOption(
      new Option('--workspace <id>', 'only this workspace (default: every workspace, each with its own counter)').argParser(idText),
    )
    .addOption(new Option('--name <text>', 'what refusals call it').argParser(idText))
    .addOption(new Option('--scope <scope>', 'whose spend').choices(BUDGET_SCOPES))
    .addOption(new Option('--id <id>', 'one id of the scope, or * for each (default: *)').argParser(idText))
    .addOption(new Option('--window <window>', 'how long it counts').choices(['lifetime', 'day', 'month']))
    .addOption(new Option('--limit <usd>', 'dollars, such as 0.50'))
    .addOption(new Option('--action <action>', 'what happens beyond it: block, alert_only or pause'))
    .addOption(new Option('--on-exceed <what>', 'refuse the call, or clamp its output to what fits').choices(['refuse', 'clamp']))
    .addOption(new Option('--thresholds <percents>', 'such as 50,75,90,100'))
    .addOption(jsonOption())
    .action((budgetId: string | undefined, options: SetOptions) => setBudget(budgetId, options));
}

async function setBudget(budgetId: string | undefined, options: SetOptions): Promise<void> {
  const output = terminalOutput();
  const { budget, standing } = await withAdmin(options.data, { create: true }, async (admin) => {
    const existing = budgetId === undefined ? undefined : admin.budgets().find((stored) => stored.budgetId === budgetId);
    if (budgetId !== undefined && existing === undefined)
      throw new CliError(
        budgetId.startsWith('config_')
          ? `Budget ${budgetId} stands in runpurse.yaml: change it there.`
          : `There is no budget ${budgetId}. Leave the id out to make one; \`runpurse budgets list\` shows the ids.`,
      );
    if (existing === undefined && options.scope === undefined) throw new CliError('A new budget needs --scope and --limit.', 2);
    const parsed = parseBudget({ ...existing?.body, ...written(options) });
    if (parsed.type === 'invalid') throw new CliError(`${FLAG[parsed.path.replace(/\[.*/, '')] ?? parsed.path} ${parsed.message}`, 2);
    const id = budgetId ?? createIds({ now: Date.now }).next('bud');
    const others = admin.budgets().filter((stored) => stored.budgetId !== id && isSameSpend(stored.body, budgetBody(parsed.config)));
    await admin.putBudget({ budgetId: id, body: budgetBody(parsed.config), updatedAt: Date.now() });
    return {
      budget: budgetWire({ budgetId: id, config: parsed.config, origin: 'api' }),
      standing: others.map(({ budgetId: other }) => other),
    };
  });
  if (options.json === true) output.json(budget);
  else {
    output.line(
      `Budget ${budget.budget_id}: ${budget.scope} ${budget.id} may spend $${budget.limit_usd}${budget.window === 'lifetime' ? '' : ` per ${budget.window}`}.`,
    );
    for (const other of standing)
      output.line(
        `Budget ${other} limits the same spend and still holds. To change that one: \`runpurse budgets set ${other} --limit USD\`; to remove it: \`runpurse budgets delete ${other}\`.`,
      );
  }
}

/** What a person who means to raise a cap would write without its id. */
function isSameSpend(one: StoredBudget['body'], other: StoredBudget['body']): boolean {
  return (['workspace', 'scope', 'id', 'window'] as const).every((field) => one[field] === other[field]);
}

const FLAG: Readonly<Record<string, string>> = {
  limit_usd: '--limit',
  action: '--action',
  thresholds: '--thresholds',
  on_exceed: '--on-exceed',
};

/** The options given, as they would stand in runpurse.yaml. */
function written(options: SetOptions): Readonly<Record<string, unknown>> {
  const fields = {
    workspace: options.workspace,
    name: options.name,
    scope: options.scope,
    id: options.id,
    window: options.window,
    limit_usd: options.limit,
    action: options.action,
    on_exceed: options.onExceed,
    thresholds: options.thresholds?.split(',').map((percent) => Number(percent)),
  };
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
