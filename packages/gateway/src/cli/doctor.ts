import { existsSync, readdirSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { createPolicy } from '../policy/index.ts';
import { FILES } from '../store/sqlite/database.ts';
import { openSqliteStore } from '../store/sqlite/index.ts';
import { CliError } from './cli-error.ts';
import { existingDirectory, gatewayRuns } from './data-directory.ts';
import { auditLedger } from './ledger-audit.ts';
import { configFrom, configOption, dataOption, jsonOption } from './options.ts';
import { table, terminalOutput } from './output.ts';

interface DoctorOptions {
  readonly data: string;
  readonly config?: string;
  readonly rebuild?: boolean;
  readonly json?: boolean;
}

/** One thing looked at. A `problem` makes the command fail; a `notice` is worth knowing. */
export interface Finding {
  readonly check: string;
  readonly state: 'ok' | 'notice' | 'problem';
  readonly text: string;
}

const MIB = 1024 * 1024;
const DISK_LOW_BYTES = 1024 * MIB;
const DISK_EMPTY_BYTES = 64 * MIB;

export function doctorCommand(): Command {
  return new Command('doctor')
    .description('look whether configuration, data directory, disk and ledger are sound')
    .addOption(dataOption())
    .addOption(configOption())
    .option('--rebuild', 'fold every view anew from the ledger and compare all figures; the gateway must not run')
    .addOption(jsonOption())
    .action((options: DoctorOptions) => doctor(options));
}

async function doctor(options: DoctorOptions): Promise<void> {
  const output = terminalOutput();
  const directory = existingDirectory(options.data);
  const isRunning = gatewayRuns(directory);
  if (options.rebuild === true && isRunning)
    throw new CliError(`A gateway runs on ${directory}. Stop it first: the views can only be rebuilt while nobody writes.`);
  const findings: Finding[] = [
    checkConfig(options.config),
    { check: 'gateway', state: 'ok', text: isRunning ? 'a gateway runs on this directory' : 'no gateway runs on this directory' },
    checkDisk(directory),
  ];
  if (existsSync(join(directory, FILES.ledger))) {
    // Rebuilding opens the store, which folds what is left; the audit then sees views and ledger at the same point.
    if (options.rebuild === true) findings.push(await rebuild(directory));
    findings.push(...auditLedger(directory, isRunning));
  } else findings.push({ check: 'ledger', state: 'notice', text: 'there is none yet: no gateway has run here' });

  const isSound = findings.every(({ state }) => state !== 'problem');
  if (options.json === true) output.json({ sound: isSound, findings });
  else output.line(table(findings.map(({ state, check, text }) => [MARKS[state], check, text])));
  if (!isSound) throw new CliError('There are problems, see above.');
}

const MARKS = { ok: 'ok', notice: 'note', problem: 'FAIL' } as const;

function checkConfig(file: string | undefined): Finding {
  try {
    const { config, file: used } = configFrom(file);
    createPolicy(config.policy);
    return {
      check: 'config',
      state: 'ok',
      text:
        used === undefined
          ? 'none: the built-in defaults'
          : `${used} is valid: ${config.providers.length} providers, ${config.budgets.length} budgets, ${config.policy.rules.length} rules`,
    };
  } catch (error) {
    return { check: 'config', state: 'problem', text: error instanceof Error ? error.message : String(error) };
  }
}

function checkDisk(directory: string): Finding {
  const { bavail, bsize } = statfsSync(directory);
  const free = bavail * bsize;
  const used = readdirSync(directory, { withFileTypes: true }).filter((entry) => entry.isFile()).length;
  const text = `${Math.floor(free / MIB)} MiB free for ${used} files`;
  if (free < DISK_EMPTY_BYTES)
    return { check: 'disk', state: 'problem', text: `${text}: the ledger will soon be unable to grow, and calls will be refused` };
  return { check: 'disk', state: free < DISK_LOW_BYTES ? 'notice' : 'ok', text };
}

async function rebuild(directory: string): Promise<Finding> {
  const store = await openSqliteStore({ directory, durability: 'full' });
  try {
    const { entries, differences } = await store.rebuild();
    return differences.length === 0
      ? { check: 'rebuild', state: 'ok', text: `${entries} entries folded anew: every figure is the same` }
      : {
          check: 'rebuild',
          state: 'problem',
          text: `${entries} entries folded anew: ${differences.length} figures differed and were replaced: ${differences.slice(0, 5).join('; ')}`,
        };
  } finally {
    await store.close();
  }
}
