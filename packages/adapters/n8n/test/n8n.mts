import { fork, spawnSync, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, globSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';

const HERE = join(import.meta.dirname, '..');

/** A workflow as n8n exports it. */
export interface WorkflowFile {
  readonly id: string;
  readonly name: string;
  readonly nodes: readonly { readonly name: string; readonly type: string; readonly [field: string]: unknown }[];
  readonly connections: Readonly<Record<string, unknown>>;
  readonly settings?: Readonly<Record<string, unknown>>;
}

export interface NodeFailure {
  readonly message: string;
  readonly description?: string;
  /** The whole error as text, to look for secrets. */
  readonly said: string;
}

/** How an execution went: each node's runs, with the items they put out. */
export interface Played {
  readonly status: string;
  readonly error?: NodeFailure;
  readonly nodes: Readonly<
    Record<
      string,
      readonly {
        readonly items: readonly { readonly json: Record<string, unknown>; readonly pairedItem?: unknown; readonly error?: unknown }[];
        readonly error?: NodeFailure;
        readonly hints?: readonly string[];
      }[]
    >
  >;
}

export type ToN8n = { readonly id: number } & (
  | {
      readonly kind: 'execute';
      readonly workflow: WorkflowFile;
      readonly executionId: string;
      readonly start: string;
      readonly mode: string;
      readonly input?: readonly { readonly json: object; readonly binary?: object }[] | undefined;
      readonly hooks?: HooksFile | undefined;
      /** Nodes that are tools of the test although n8n runs them: noted when they begin. */
      readonly noted?: readonly string[] | undefined;
      readonly isStreamed?: boolean | undefined;
    }
  | { readonly kind: 'options'; readonly node: object & { readonly type: string }; readonly method: string }
  | {
      readonly kind: 'hook';
      readonly workflow: WorkflowFile;
      readonly node: string;
      readonly method: 'checkExists' | 'create' | 'delete' | 'receive';
      readonly webhookBaseUrl: string;
      readonly headers: Readonly<Record<string, string>>;
      readonly body: string;
    }
  | { readonly kind: 'test-credential'; readonly type: string; readonly data: object }
  | { readonly kind: 'cancel'; readonly executionId: string }
  | { readonly kind: 'describe' }
  /** The text that the agent makes of a person's no to a tool call. */
  | { readonly kind: 'decline'; readonly callId: string; readonly tool: string; readonly words?: string | undefined }
  /** How many executions that have ended are still in memory. */
  | { readonly kind: 'held' }
  | { readonly kind: 'tool-answer'; readonly call: number; readonly result?: string; readonly error?: string }
);

export type FromN8n =
  | { readonly kind: 'ready' }
  | { readonly kind: 'answer'; readonly id: number; readonly value?: unknown; readonly error?: string }
  | {
      readonly kind: 'tool';
      readonly call: number;
      readonly executionId: string;
      readonly name: string;
      readonly args: Record<string, unknown>;
    };

/** A hooks file as `EXTERNAL_HOOK_FILES` names it, and the environment n8n was started with. */
export interface HooksFile {
  readonly path: string;
  readonly environment: Readonly<Record<string, string>>;
}

type Without<Message> = Message extends ToN8n ? Omit<Message, 'id'> : never;
type ToolRunner = (name: string, args: Record<string, unknown>) => Promise<string>;

/** n8n's engine with the built package, in a process of its own. */
export interface N8n {
  execute(options: {
    readonly workflow: WorkflowFile;
    readonly executionId: string;
    readonly start?: string | undefined;
    readonly mode?: string | undefined;
    readonly input?: readonly { readonly json: object; readonly binary?: object }[] | undefined;
    readonly hooks?: HooksFile | undefined;
    readonly noted?: readonly string[] | undefined;
    /** The caller reads the answer as it comes, as n8n's chat does. */
    readonly isStreamed?: boolean | undefined;
    /** Cancels the execution, as the stop button does. */
    readonly signal?: AbortSignal | undefined;
    readonly runTool?: ToolRunner | undefined;
  }): Promise<Played>;
  ask(message: Without<ToN8n>): Promise<unknown>;
  stop(): Promise<void>;
}

const SOURCES = ['nodes/**/*', 'credentials/*', 'icons/*', 'package.json', 'build.mjs', '../../core/src/**/*.ts'];

/** The package as n8n installs it, built from the sources as they are now; any number of processes may ask at once. */
export function builtPackage(): string {
  const hash = createHash('sha256');
  for (const path of globSync(SOURCES, { cwd: HERE }).toSorted())
    if (statSync(join(HERE, path)).isFile()) hash.update(`${path}\n`).update(readFileSync(join(HERE, path)));
  const cache = join(HERE, 'node_modules', '.cache', 'built');
  const folder = join(cache, hash.digest('hex').slice(0, 16));
  if (existsSync(folder)) return folder;
  const fresh = `${folder}.${process.pid}`;
  const { status, stderr } = spawnSync(process.execPath, ['build.mjs', fresh], { cwd: HERE, encoding: 'utf8' });
  if (status !== 0) throw new Error(`n8n-nodes-runpurse does not build: ${stderr}`);
  try {
    renameSync(fresh, folder);
  } catch (error) {
    rmSync(fresh, { recursive: true, force: true });
    if (!existsSync(folder)) throw error;
  }
  return folder;
}

let shared: Promise<N8n> | undefined;

/** One process for any number of plays; it ends with this one and keeps it from ending no longer than a play lasts. */
export function sharedN8n(): Promise<N8n> {
  return (shared ??= startN8n({ isBackground: true }));
}

export async function startN8n({ isBackground = false } = {}): Promise<N8n> {
  const RUNPURSE_N8N_PACKAGE = builtPackage();
  const child = fork(join(import.meta.dirname, 'n8n-process.mts'), {
    execArgv: ['--no-warnings', '--conditions=runpurse-source'],
    env: {
      ...process.env,
      NODE_OPTIONS: '',
      NODE_ENV: 'production',
      N8N_LOG_LEVEL: 'silent',
      N8N_DIAGNOSTICS_ENABLED: 'false',
      RUNPURSE_N8N_PACKAGE,
    },
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  let said = '';
  child.stderr?.on('data', (chunk: Buffer) => (said = `${said}${chunk.toString()}`.slice(-4000)));
  const answers = new Map<number, (answer: Extract<FromN8n, { kind: 'answer' }>) => void>();
  const tools = new Map<string, ToolRunner>();
  let ids = 0;

  await new Promise<void>((resolve, reject) => {
    child.on('message', (message: FromN8n) => {
      if (message.kind === 'ready') resolve();
      if (message.kind === 'answer') answers.get(message.id)?.(message);
      if (message.kind === 'tool') void answerTool(child, message, tools.get(message.executionId));
    });
    child.on('exit', (code) => {
      reject(new Error(`n8n ended with ${code}: ${said}`));
      for (const answer of answers.values()) answer({ kind: 'answer', id: 0, error: `n8n ended with ${code}: ${said}` });
    });
  });

  const hold = (): void => {
    if (!isBackground) return;
    if (answers.size > 0) child.channel?.ref();
    else child.channel?.unref();
  };
  if (isBackground) {
    child.unref();
    (child.stderr as unknown as { unref?: () => void } | null)?.unref?.();
    hold();
  }

  const ask = async (message: Without<ToN8n>): Promise<unknown> => {
    const id = (ids += 1);
    const { value, error } = await new Promise<Extract<FromN8n, { kind: 'answer' }>>((resolve) => {
      answers.set(id, resolve);
      hold();
      child.send({ ...message, id });
    });
    answers.delete(id);
    hold();
    if (error !== undefined) throw new Error(error);
    return value;
  };

  return {
    ask,
    async execute({ workflow, executionId, start, mode = 'trigger', input, hooks, noted, isStreamed, signal, runTool }) {
      if (runTool !== undefined) tools.set(executionId, runTool);
      const cancel = () => void ask({ kind: 'cancel', executionId });
      signal?.addEventListener('abort', cancel);
      try {
        const first = start ?? workflow.nodes[0]?.name ?? '';
        return (await ask({ kind: 'execute', workflow, executionId, start: first, mode, input, hooks, noted, isStreamed })) as Played;
      } finally {
        signal?.removeEventListener('abort', cancel);
        tools.delete(executionId);
      }
    },
    async stop() {
      if (child.exitCode !== null) return;
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.disconnect();
      await ended;
    },
  };
}

async function answerTool(
  child: ChildProcess,
  { call, name, args }: Extract<FromN8n, { kind: 'tool' }>,
  run: ToolRunner | undefined,
): Promise<void> {
  const answer = await (run ?? (() => Promise.reject(new Error(`nobody runs ${name}`))))(name, args).then(
    (result) => ({ result }),
    (error: unknown) => ({ error: error instanceof Error ? error.message : String(error) }),
  );
  child.send({ id: 0, kind: 'tool-answer', call, ...answer });
}
