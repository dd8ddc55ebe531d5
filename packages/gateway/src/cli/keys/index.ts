import { Command } from 'commander';
import { createKeyCommand } from './create.ts';
import { listKeysCommand } from './list.ts';
import { revokeKeyCommand } from './revoke.ts';

export function keysCommand(): Command {
  return new Command('keys')
    .description('virtual keys: who may call, and for which workspace')
    .addCommand(createKeyCommand())
    .addCommand(listKeysCommand())
    .addCommand(revokeKeyCommand());
}
