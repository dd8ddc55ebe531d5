import { resolve } from 'node:path';
import { createGateway } from '../create-gateway.ts';
import type { Gateway } from '../gateway.ts';
import { startServer, type RunningServer } from '../server.ts';
import { CliError } from './cli-error.ts';
import { mintKey } from './mint-key.ts';
import { configFrom } from './options.ts';
import { terminalOutput, type Output } from './output.ts';
import type { StartOptions } from './start.ts';

/** The command as it is typed from a checkout; a later start tells it. */
const RUNPURSE = 'npm run -s runpurse --';
const FIRST_WORKSPACE = 'default';

/** Starts the gateway, says where it listens, and stops it on a signal. */
export async function startGateway(options: StartOptions): Promise<void> {
  const output = terminalOutput();
  const directory = resolve(options.data);
  const { config, file } = configFrom(options.config);
  const gateway = await createGateway({ config, directory });
  let server: RunningServer;
  try {
    server = await startServer(gateway, { host: options.host, port: options.port });
  } catch (error) {
    await gateway.close();
    throw listenFailure(error, options);
  }
  stopOnSignal(server, gateway);

  const secret = await mintFirstKey(gateway);
  const url = callableUrl(server.url);
  if (options.json === true) {
    output.json({ url, data: directory, ...(secret === undefined ? {} : { key: secret }) });
    return;
  }
  greet(output, { url, directory, file, secret, gateway, data: options.data });
}

/** A gateway without any usable key would answer nobody. The first one is the operator's. */
async function mintFirstKey(gateway: Gateway): Promise<string | undefined> {
  if (gateway.store.keys().some((key) => key.revokedAt === undefined)) return undefined;
  const { secret, stored } = mintKey({ workspaceId: FIRST_WORKSPACE, label: 'first key', admin: true }, gateway.ids, gateway.clock.now());
  await gateway.store.putKey(stored);
  return secret;
}

function greet(
  output: Output,
  shown: {
    readonly url: string;
    readonly directory: string;
    readonly file: string | undefined;
    readonly secret: string | undefined;
    readonly gateway: Gateway;
    readonly data: string;
  },
): void {
  const { url, directory, file, secret, gateway, data } = shown;
  const [model] = gateway.providers.models();
  const body = JSON.stringify({
    model: model === undefined ? 'PROVIDER/MODEL' : `${model.provider}/${model.model}`,
    messages: [{ role: 'user', content: 'Hello' }],
  });
  const lines = [
    `Runpurse is listening on ${url}`,
    `  config     ${file ?? 'none: the built-in sandbox provider, no budgets'}`,
    `  data       ${directory}`,
    `  providers  ${gateway.providers
      .list()
      .map(({ name }) => name)
      .join(', ')}`,
    ...(secret === undefined ? [] : [`  key        ${secret}  (workspace ${FIRST_WORKSPACE}, admin; shown only now)`]),
    '',
    'Try it:',
    `  curl -s ${url}/v1/chat/completions -H "authorization: Bearer ${secret ?? '$RUNPURSE_KEY'}" -H "content-type: application/json" -d '${body}'`,
    ...(secret === undefined
      ? ['', 'Keys are shown once. To mint another:', `  ${RUNPURSE} keys create --data ${quoted(data)} --workspace ${FIRST_WORKSPACE}`]
      : []),
  ];
  output.line(lines.join('\n'));
}

function quoted(text: string): string {
  return /^[\w./~-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** An address that listens on everything is called by the loopback's name. */
function callableUrl(url: string): string {
  return url.replace('//0.0.0.0:', '//127.0.0.1:').replace('//[::]:', '//[::1]:');
}

function listenFailure(error: unknown, { host, port }: StartOptions): unknown {
  const code = (error as NodeJS.ErrnoException).code ?? '';
  const known: Readonly<Record<string, string>> = {
    EADDRINUSE: `Port ${port} on ${host} is in use. Stop what listens there, or start with another --port.`,
    EACCES: `Port ${port} on ${host} may not be opened by this user. Choose a --port above 1023.`,
    EADDRNOTAVAIL: `${host} is not an address of this machine. Choose another --host.`,
    ENOTFOUND: `The host name ${host} is not known. Choose another --host.`,
  };
  const text = known[code];
  return text === undefined ? error : new CliError(text);
}

/** Stops taking calls, lets those in flight end, writes what waits, and exits 0. A second signal exits at once. */
function stopOnSignal(server: RunningServer, gateway: { close(): Promise<void> }): void {
  let isStopping = false;
  const stop = (): void => {
    if (isStopping) process.exit(1);
    isStopping = true;
    server
      .close()
      .then(() => gateway.close())
      .then(
        () => process.exit(0),
        (error: unknown) => {
          process.stderr.write(`runpurse: could not stop cleanly: ${error instanceof Error ? error.message : String(error)}\n`);
          process.exit(1);
        },
      );
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
}
