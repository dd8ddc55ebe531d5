import { Command } from 'commander';
import { listRunsCommand } from './list.ts';
import { showRunCommand } from './show.ts';

export function runsCommand(): Command {
  return new Command('runs').description('runs: what they did and cost').addCommand(listRunsCommand()).addCommand(showRunCommand());
}
