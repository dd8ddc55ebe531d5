import { Command, Option } from 'commander';
import { configOption, dataOption, jsonOption, wholeNumber } from './options.ts';

export interface StartOptions {
  readonly config?: string;
  readonly data: string;
  readonly host: string;
  readonly port: number;
  readonly json?: boolean;
}

export function startCommand(): Command {
  return new Command('start')
    .description('start the gateway')
    .addOption(configOption())
    .addOption(dataOption())
    .addOption(new Option('--host <host>', 'address to listen on').default('127.0.0.1').env('RUNPURSE_HOST'))
    .addOption(
      new Option('--port <port>', 'port to listen on; 0 takes a free one')
        .default(8787)
        .argParser(wholeNumber(0, 65_535))
        .env('RUNPURSE_PORT'),
    )
    .addOption(jsonOption())
    .action(async (options: StartOptions) => {
      // The gateway itself is loaded only here: the other commands answer sooner without it.
      const { startGateway } = await import('./start-gateway.ts');
      await startGateway(options);
    });
}
