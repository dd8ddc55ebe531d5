import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { budgetsCommand } from './budgets/index.ts';
import { doctorCommand } from './doctor.ts';
import { explainCommand } from './explain.ts';
import { keysCommand } from './keys/index.ts';
import { runsCommand } from './runs/index.ts';
import { sessionsCommand } from './sessions/index.ts';
import { startCommand } from './start.ts';

/** The `runpurse` command. Exit codes: 0 done, 1 it could not be done, 2 wrong usage. */
export function createProgram(): Command {
  const program = new Command('runpurse')
    .description('Agent Finance Gateway: what every agent run costs, and the cap that holds')
    .version(packageVersion())
    .showHelpAfterError('Run `runpurse --help` to see what there is.');
  for (const command of [
    startCommand(),
    keysCommand(),
    budgetsCommand(),
    runsCommand(),
    sessionsCommand(),
    explainCommand(),
    doctorCommand(),
  ])
    program.addCommand(command);
  return useExitCode(program, 2);
}

/** Commander exits 1 on wrong usage; 2 tells it from a command that failed. */
function useExitCode(command: Command, usage: number): Command {
  command.exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : usage));
  command.commands.forEach((sub) => useExitCode(sub, usage));
  return command;
}

/** From the package's own manifest, which lies two folders up from the sources and from what is built of them. */
function packageVersion(): string {
  const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { readonly version: string };
  return manifest.version;
}
