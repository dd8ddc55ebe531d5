import { Command, Option } from 'commander';
import { createIds } from '../../ids.ts';
import { withAdmin } from '../data-directory.ts';
import { mintKey } from '../mint-key.ts';
import { dataOption, idText, jsonOption } from '../options.ts';
import { terminalOutput } from '../output.ts';

interface CreateOptions {
  readonly data: string;
  readonly workspace: string;
  readonly agent?: string;
  readonly member?: string;
  readonly label?: string;
  readonly admin?: boolean;
  readonly json?: boolean;
}

export function createKeyCommand(): Command {
  return new Command('create')
    .description('mint a key; it is shown once and works at once, also while the gateway runs')
    .addOption(dataOption())
    .addOption(new Option('--workspace <id>', 'whose spend and runs this key is for').makeOptionMandatory().argParser(idText))
    .addOption(new Option('--agent <id>', 'bind to an agent: calls can not claim another').argParser(idText))
    .addOption(new Option('--member <id>', 'bind to a member').argParser(idText))
    .addOption(new Option('--label <text>', 'what lists call it').argParser(idText))
    .option('--admin', 'may change the budgets of its workspace')
    .addOption(jsonOption())
    .action((options: CreateOptions) => createKey(options));
}

async function createKey(options: CreateOptions): Promise<void> {
  const output = terminalOutput();
  const clock = { now: Date.now };
  const { secret, stored } = mintKey(
    {
      workspaceId: options.workspace,
      agentId: options.agent,
      memberId: options.member,
      label: options.label,
      admin: options.admin === true,
    },
    createIds(clock),
    clock.now(),
  );
  await withAdmin(options.data, { create: true }, (admin) => admin.putKey(stored));
  if (options.json === true) {
    output.json({
      key: secret,
      key_id: stored.keyId,
      workspace_id: stored.workspaceId,
      agent_id: stored.agentId ?? null,
      member_id: stored.memberId ?? null,
      label: stored.label ?? null,
      admin: stored.admin,
    });
    return;
  }
  output.line(secret);
  output.line(`Key ${stored.keyId} of workspace ${stored.workspaceId}${stored.admin ? ' (admin)' : ''}. It is shown only now: keep it.`);
}
