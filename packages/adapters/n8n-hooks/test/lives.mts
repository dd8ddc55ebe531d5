import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { builtPackage, type WorkflowFile } from '../../n8n/test/n8n.mts';

/** One execution, or one more stretch of the one before. */
export interface Life {
  readonly executionId: string;
  /** Resumed after its wait, retried after its failure, or run partly from the editor; from the start unless stated. */
  readonly how?: 'resumed' | 'retried' | 'partly';
  readonly mode?: string;
  /** Outputs that the editor keeps for nodes, by node: these are not run. */
  readonly pinned?: Readonly<Record<string, readonly { readonly json: object }[]>>;
  /** The last node of a partial execution. */
  readonly until?: string;
  /** Nodes edited since, which a partial execution runs again. */
  readonly changed?: readonly string[];
}

export interface Lived {
  readonly status: string;
  readonly error?: string | undefined;
}

export interface Told {
  readonly lived: readonly Lived[];
  readonly runData: Readonly<Record<string, readonly Record<string, unknown>[]>>;
}

export interface LivingN8n {
  play(workflow: WorkflowFile, lives: readonly Life[]): Promise<Told>;
  /** Ends the process as it stands. */
  stop(): Promise<void>;
}

type Message = { readonly kind: string; readonly error?: string } & Told;

/** n8n's engine and what n8n's server does around it, in a process of its own that was started with `environment`. */
export async function startLivingN8n(environment: Readonly<Record<string, string>>): Promise<LivingN8n> {
  const child = fork(join(import.meta.dirname, 'lives-process.mts'), {
    execArgv: ['--no-warnings', '--conditions=runpurse-source'],
    env: {
      ...process.env,
      NODE_OPTIONS: '',
      NODE_ENV: 'production',
      N8N_LOG_LEVEL: 'silent',
      N8N_DIAGNOSTICS_ENABLED: 'false',
      RUNPURSE_N8N_PACKAGE: builtPackage(),
      ...environment,
    },
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  let said = '';
  child.stderr?.on('data', (chunk: Buffer) => (said = `${said}${chunk.toString()}`.slice(-4000)));
  const next = async (kind: string): Promise<Message> =>
    new Promise((resolve, reject) => {
      const ended = (code: number | null): void => reject(new Error(`n8n ended with ${code}: ${said}`));
      const heard = (message: Message): void => {
        if (message.kind !== kind && message.error === undefined) return;
        child.off('exit', ended).off('message', heard);
        if (message.error === undefined) resolve(message);
        else reject(new Error(message.error));
      };
      child.on('exit', ended).on('message', heard);
    });
  await next('ready');
  return {
    async play(workflow, lives) {
      const told = next('lived');
      child.send(playOf(workflow, lives));
      return told;
    },
    async stop() {
      if (child.exitCode !== null) return;
      const ended = once(child, 'exit');
      child.disconnect();
      await ended;
    },
  };
}

const HOOKS = join(import.meta.dirname, '..', 'src', 'hooks.ts');

function playOf(workflow: WorkflowFile, lives: readonly Life[]): object {
  const settings = { ...workflow.settings, lives, hooksFile: HOOKS };
  const start = workflow.nodes[0]?.name ?? '';
  return { id: 1, kind: 'execute', workflow: { ...workflow, settings }, executionId: 'lives', start, mode: 'trigger' };
}
