import { Command } from 'commander';
import { CliError } from '../cli-error.ts';
import { withAdmin } from '../data-directory.ts';
import { dataOption, jsonOption } from '../options.ts';
import { terminalOutput } from '../output.ts';

export function revokeKeyCommand(): Command {
  return new Command('revoke')
    .description('make a key useless, also while the gateway runs')
    .argument('<key_id>', 'id as `keys list` shows it')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action((keyId: string, options: { data: string; json?: boolean }) => revokeKey(keyId, options));
}

async function revokeKey(keyId: string, options: { readonly data: string; readonly json?: boolean }): Promise<void> {
  const output = terminalOutput();
  const revokedAt = await withAdmin(options.data, { create: false }, async (admin) => {
    const key = admin.keys().find((candidate) => candidate.keyId === keyId);
    if (key === undefined) throw new CliError(`There is no key ${keyId}. \`runpurse keys list\` shows the ids.`);
    if (key.revokedAt !== undefined) return key.revokedAt;
    const now = Date.now();
    await admin.putKey({ ...key, revokedAt: now });
    return now;
  });
  if (options.json === true) output.json({ key_id: keyId, revoked_at: new Date(revokedAt).toISOString() });
  else output.line(`Key ${keyId} is revoked.`);
}
