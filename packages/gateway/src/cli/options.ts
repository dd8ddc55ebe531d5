import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { InvalidArgumentError, Option } from 'commander';
import type { GatewayConfig } from '../config/config.ts';
import { defaultConfig, loadConfig } from '../config/load.ts';

export const DATA_DEFAULT = '.runpurse';
export const CONFIG_DEFAULT = 'runpurse.yaml';

export const dataOption = (): Option =>
  new Option('--data <dir>', 'data directory of the gateway').default(DATA_DEFAULT).env('RUNPURSE_DATA');
export const configOption = (): Option =>
  new Option('--config <file>', `configuration file (default: ./${CONFIG_DEFAULT} if it is there)`).env('RUNPURSE_CONFIG');
export const jsonOption = (): Option => new Option('--json', 'print JSON, for programs');
export const workspaceOption = (): Option => new Option('--workspace <id>', 'workspace; needed when there is more than one');

/** The configuration a command works with: the named file, else ./runpurse.yaml, else the defaults. */
export function configFrom(file: string | undefined): { readonly config: GatewayConfig; readonly file: string | undefined } {
  if (file !== undefined) return { config: loadConfig(resolve(file), process.env), file };
  if (existsSync(CONFIG_DEFAULT)) return { config: loadConfig(resolve(CONFIG_DEFAULT), process.env), file: CONFIG_DEFAULT };
  return { config: defaultConfig(), file: undefined };
}

/** Parses a whole number in a range for commander. */
export function wholeNumber(least: number, most: number): (text: string) => number {
  return (text) => {
    const number = Number(text);
    if (!/^\d+$/.test(text) || number < least || number > most)
      throw new InvalidArgumentError(`It must be a whole number from ${least} to ${most}.`);
    return number;
  };
}

/** An id as given on the command line. */
export function idText(text: string): string {
  if (text === '' || text.length > 256 || /[\p{Cc}\p{Cs}]/u.test(text))
    throw new InvalidArgumentError('It must be 1 to 256 characters without control characters.');
  return text;
}
