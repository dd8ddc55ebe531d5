import { platform, setPriority } from 'node:os';
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { StoreError } from '../store.ts';

/** Starts a worker thread from the file beside this one: TypeScript from a checkout, JavaScript from a package. */
export function startThread(name: 'writer-thread' | 'views-thread', options: unknown): Worker {
  const extension = extname(import.meta.url);
  return new Worker(new URL(`./${name}${extension}`, import.meta.url), {
    workerData: options,
    execArgv: extension === '.ts' ? ['--no-warnings'] : [],
  });
}

interface First {
  readonly kind: string;
  readonly error?: string | undefined;
}

/** A thread's first word: `ready`, or why it refused. */
export function firstMessage<Ready>(worker: Worker): Promise<Ready> {
  return new Promise((resolve, reject) => {
    const onExit = (): void => reject(new StoreError('A thread of the store ended before it was ready.'));
    worker.once('error', reject);
    worker.once('exit', onExit);
    worker.once('message', (message: First) => {
      worker.off('error', reject);
      worker.off('exit', onExit);
      if (message.kind === 'ready') resolve(message as Ready);
      else reject(new StoreError(message.error ?? 'A thread of the store could not start.'));
    });
  });
}

/** Questions to a thread, each answered by its number. */
export interface Questions<Message> {
  ask(message: Message): Promise<unknown>;
  answer(answer: { readonly id: number; readonly value?: unknown; readonly error?: string | undefined }): void;
  /** Rejects what is asked now and from now on. */
  fail(error: StoreError): void;
}

export function createQuestions<Message>(send: (id: number, message: Message) => void): Questions<Message> {
  const asked = new Map<number, PromiseWithResolvers<unknown>>();
  let lastId = 0;
  let failure: StoreError | undefined;
  return {
    ask(message) {
      if (failure !== undefined) return Promise.reject(failure);
      const resolvers = Promise.withResolvers<unknown>();
      lastId += 1;
      asked.set(lastId, resolvers);
      send(lastId, message);
      return resolvers.promise;
    },
    answer({ id, value, error }) {
      const resolvers = asked.get(id);
      asked.delete(id);
      if (error === undefined) resolvers?.resolve(value);
      else resolvers?.reject(new StoreError(`The store could not answer: ${error}`));
    },
    fail(error) {
      failure ??= error;
      for (const resolvers of asked.values()) resolvers.reject(failure);
      asked.clear();
    },
  };
}

const BACKGROUND_NICE = 10;

/**
 * Called on a thread whose work can wait: where it shares a core with the calls they go first, and it catches up after a
 * burst. Elsewhere than on Linux a priority is the whole process's, and stays as it is.
 */
export function yieldToCalls(): void {
  if (platform() === 'linux') setPriority(0, BACKGROUND_NICE);
}
