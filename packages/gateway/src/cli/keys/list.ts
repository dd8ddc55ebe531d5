import { Command } from 'commander';
import { withAdmin } from '../data-directory.ts';
import { dataOption, jsonOption } from '../options.ts';
import { table, terminalOutput } from '../output.ts';

export function listKeysCommand(): Command {
  return new Command('list')
    .description('all keys, without their secrets')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action((options: { data: string; json?: boolean }) => listKeys(options));
}

async function listKeys(options: { readonly data: string; readonly json?: boolean }): Promise<void> {
  const output = terminalOutput();
  const keys = await withAdmin(options.data, { create: false }, (admin) => admin.keys());
  if (options.json === true) {
    output.json({
      data: keys.map((key) => ({
        key_id: key.keyId,
        prefix: key.prefix,
        workspace_id: key.workspaceId,
        agent_id: key.agentId ?? null,
        member_id: key.memberId ?? null,
        label: key.label ?? null,
        admin: key.admin,
        created_at: new Date(key.createdAt).toISOString(),
        revoked_at: key.revokedAt === undefined ? null : new Date(key.revokedAt).toISOString(),
      })),
    });
    return;
  }
  const rows = keys.map((key) => [
    key.keyId,
    `${key.prefix}…`,
    key.workspaceId,
    key.agentId ?? '-',
    key.memberId ?? '-',
    key.admin ? 'yes' : 'no',
    key.revokedAt === undefined ? 'active' : 'revoked',
    key.label ?? '-',
  ]);
  output.line(table([['KEY', 'BEGINS', 'WORKSPACE', 'AGENT', 'MEMBER', 'ADMIN', 'STATUS', 'LABEL'], ...rows]));
}
