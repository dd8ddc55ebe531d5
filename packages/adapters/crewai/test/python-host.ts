import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { PYTHON, PYTHON_VARIABLES, pythonEnvironment } from './environment.ts';

type RunTool = (name: string, args: Readonly<Record<string, unknown>>) => Promise<string>;

interface Request {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly runTool: RunTool;
}

type Message =
  | { readonly type: 'ready' }
  | { readonly type: 'tool'; readonly id: string; readonly call: string; readonly name: string; readonly args: Record<string, unknown> }
  | { readonly type: 'result'; readonly id: string; readonly result: unknown }
  | { readonly type: 'fault'; readonly id: string; readonly message: string };

const SAID_MAX = 20_000;

/** A Python process that plays the crews of stories.py, as many at once as one likes; their tools are answered from here. */
export class PythonHost {
  readonly #process: ChildProcessWithoutNullStreams;
  readonly #requests = new Map<string, Request>();
  #count = 0;
  #said = '';
  #ended: string | undefined;

  constructor() {
    this.#process = spawn(pythonEnvironment(), [join(import.meta.dirname, 'host.py')], {
      env: {
        ...process.env,
        PYTHONPATH: [join(PYTHON, 'src'), import.meta.dirname].join(delimiter),
        ...PYTHON_VARIABLES,
      },
    });
    createInterface(this.#process.stdout).on('line', (line) => this.#hear(JSON.parse(line) as Message));
    this.#process.stderr.on('data', (data: Buffer) => {
      this.#said = (this.#said + data.toString()).slice(-SAID_MAX);
    });
    this.#process.on('exit', (code) => {
      this.#ended = `Python ended with ${String(code)}:\n${this.#said}`;
      for (const { reject } of this.#requests.values()) reject(new Error(this.#ended));
    });
    // The tests' process ends when its work is done, and takes this one with it.
    this.#unreference();
  }

  /** Resolves when CrewAI is loaded, which takes seconds. */
  async ready(): Promise<void> {
    await this.call('nothing', {});
  }

  /** What was printed on the way, for messages. */
  get said(): string {
    return this.#said;
  }

  /** Plays a story of stories.py. An abort is handed to it as its user would. */
  call(story: string, args: object, options: { readonly runTool?: RunTool; readonly signal?: AbortSignal } = {}): Promise<unknown> {
    if (this.#ended !== undefined) return Promise.reject(new Error(this.#ended));
    const id = `request-${(this.#count += 1)}`;
    options.signal?.addEventListener('abort', () => this.#say({ type: 'cancel', id, args: { run_id: runIdOf(args) } }), { once: true });
    return new Promise((resolve, reject) => {
      this.#requests.set(id, { resolve, reject, runTool: options.runTool ?? (() => Promise.resolve('')) });
      this.#reference();
      this.#say({ type: 'call', id, story, args });
    });
  }

  /** Ends when what it was asked is answered. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#process.on('exit', () => resolve());
      this.#process.stdin.end();
    });
  }

  #hear(message: Message): void {
    if (message.type === 'ready') return;
    const request = this.#requests.get(message.id);
    if (request === undefined) return;
    if (message.type === 'tool') {
      const { call, name, args } = message;
      request.runTool(name, args).then(
        (result) => this.#say({ type: 'tool_result', call, result, error: null }),
        (error: unknown) =>
          this.#say({ type: 'tool_result', call, result: null, error: error instanceof Error ? error.message : String(error) }),
      );
      return;
    }
    this.#requests.delete(message.id);
    if (this.#requests.size === 0) this.#unreference();
    if (message.type === 'result') request.resolve(message.result);
    else request.reject(new Error(message.message));
  }

  #say(message: object): void {
    this.#process.stdin.write(`${JSON.stringify(message)}\n`);
  }

  #reference(): void {
    this.#process.ref();
    for (const stream of this.#streams()) stream.ref?.();
  }

  #unreference(): void {
    this.#process.unref();
    for (const stream of this.#streams()) stream.unref?.();
  }

  #streams(): readonly { ref?(): void; unref?(): void }[] {
    const { stdin, stdout, stderr } = this.#process;
    return [stdin, stdout, stderr] as never;
  }
}

function runIdOf(args: object): string {
  return (args as { readonly env: { readonly runId: string } }).env.runId;
}
