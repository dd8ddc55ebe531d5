import { Command } from 'commander';
import { showSessionCommand } from './show.ts';

export function sessionsCommand(): Command {
  return new Command('sessions').description('sessions: what they cost over their runs').addCommand(showSessionCommand());
}
