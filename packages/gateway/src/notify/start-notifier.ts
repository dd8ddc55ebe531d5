import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { BudgetStateShape } from '@runpurse/core';
import { budgetName } from '../admit/budget-book.ts';
import type { Admission } from '../admit/types.ts';
import { budgetState, subjectOfRun } from '../api/read-views.ts';
import { StoreError, type RunRow, type Store } from '../store/store.ts';
import { createQuestions, firstMessage } from '../store/sqlite/threads.ts';
import type { PrivateAddresses } from './address-guard.ts';
import type {
  Added,
  FromNotify,
  HostAnswer,
  HostQuestion,
  ListedSubscription,
  NotifyOptions,
  NotifyQuestion,
  ToNotify,
} from './messages.ts';
import type { NoticeSource } from './read-notices.ts';
import { newSecret } from './sign.ts';
import { hasSubscriptions } from './subscription-file.ts';
import type { Subscription } from './subscription.ts';

/** Webhooks of all workspaces, and what notices are listed from. The thread behind it is started when the first webhook is made. */
export interface Notifier {
  readonly source: NoticeSource;
  readonly privateAddresses: PrivateAddresses;
  /**
   * Durable when it resolves; what happens from now on is told. Where the same is told to the same address already, that
   * one is kept, with this secret. Undefined: the workspace has as many as it may.
   */
  add(subscription: Subscription): Promise<(Added & { readonly secret: string }) | undefined>;
  /** False: this workspace has no such webhook. What waited for it is dropped. */
  remove(workspaceId: string, id: string): Promise<boolean>;
  list(workspaceId: string): Promise<readonly ListedSubscription[]>;
  close(): Promise<void>;
}

export interface NotifierParts {
  readonly directory: string;
  readonly store: Store;
  readonly admission: Admission;
  readonly privateAddresses: PrivateAddresses;
  readonly onFault?: (text: string) => void;
}

export const SUBSCRIPTIONS_PER_WORKSPACE_MAX = 100;
const START_AGAIN_MS = 1_000;

export async function startNotifier(parts: NotifierParts): Promise<Notifier> {
  const { directory, store, admission } = parts;
  const onFault = parts.onFault ?? ((text: string) => process.stderr.write(`runpurse: notices: ${text}\n`));
  let thread: Promise<Thread> | undefined;
  let isClosed = false;
  let restart: NodeJS.Timeout | undefined;

  const hostAnswer = (question: HostQuestion): HostAnswer =>
    question.ask === 'budget-states' ? statesOf(admission, question.run) : nameOf(admission, question.budgetId);
  const running = (): Promise<Thread> => {
    if (isClosed) return Promise.reject(new StoreError('The gateway is closing.'));
    if (thread !== undefined) return thread;
    const options = { directory, privateAddresses: parts.privateAddresses, lastSeq: store.lastSeq };
    const starting = startThread(options, hostAnswer, onFault, (why) => {
      thread = undefined;
      if (isClosed) return;
      onFault(`the thread that delivers them ended (${why}); it is started again`);
      startAgain();
    });
    thread = starting;
    starting.catch(() => (thread = undefined));
    return starting;
  };
  const startAgain = (): void => {
    restart = setTimeout(() => {
      running().catch((fault: unknown) => {
        if (isClosed) return;
        onFault(fault instanceof Error ? fault.message : String(fault));
        startAgain();
      });
    }, START_AGAIN_MS).unref();
  };
  const close = async (): Promise<void> => {
    isClosed = true;
    clearTimeout(restart);
    await (await thread?.catch(() => undefined))?.close();
  };
  try {
    if (hasSubscriptions(directory)) await running();
  } catch (fault) {
    // Webhooks that can't be read are not left out in silence: the gateway says so and does not start.
    await close();
    throw fault;
  }

  return {
    source: {
      entries: (filter) => store.entries(filter),
      run: (workspaceId, runId) => store.run(workspaceId, runId),
      budgetStates: async (run) => statesOf(admission, run),
      budgetName: async (budgetId) => nameOf(admission, budgetId),
    },
    privateAddresses: parts.privateAddresses,
    async add(subscription) {
      const secret = newSecret();
      // What is appended before this line is not told.
      const cursor = store.lastSeq;
      const most = SUBSCRIPTIONS_PER_WORKSPACE_MAX;
      const added = (await (await running()).ask({ ask: 'add', subscription, secret, cursor, most })) as Added | undefined;
      return added && { ...added, secret };
    },
    async remove(workspaceId, id) {
      if (!hasSubscriptions(directory)) return false;
      return (await (await running()).ask({ ask: 'remove', workspaceId, id })) === true;
    },
    async list(workspaceId) {
      if (!hasSubscriptions(directory)) return [];
      return (await (await running()).ask({ ask: 'list', workspaceId })) as ListedSubscription[];
    },
    close,
  };
}

function statesOf(admission: Admission, run: RunRow): readonly BudgetStateShape[] {
  return admission.budgetStates(subjectOfRun(run)).map(budgetState);
}

function nameOf(admission: Admission, budgetId: string): string | undefined {
  const budget = admission.budgets().find((one) => one.budgetId === budgetId);
  return budget === undefined ? undefined : budgetName(budget);
}

interface Thread {
  ask(question: NotifyQuestion): Promise<unknown>;
  close(): Promise<void>;
}

async function startThread(
  options: NotifyOptions,
  hostAnswer: (question: HostQuestion) => HostAnswer,
  onFault: (text: string) => void,
  onEnd: (why: string) => void,
): Promise<Thread> {
  // TypeScript from a checkout, JavaScript from a package.
  const extension = extname(import.meta.url);
  const worker = new Worker(new URL(`./notify-thread${extension}`, import.meta.url), {
    workerData: options,
    execArgv: extension === '.ts' ? ['--no-warnings', '--conditions=runpurse-source'] : [],
  });
  const tell = (message: ToNotify): void => worker.postMessage(message);
  const questions = createQuestions((id, question: NotifyQuestion) => tell({ kind: 'question', id, question }));
  const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  let why = 'for no stated reason';
  worker.on('error', (error: Error) => (why = error.message));
  try {
    await firstMessage(worker);
  } catch (fault) {
    await worker.terminate();
    throw fault;
  }
  worker.once('exit', () => {
    questions.fail(new StoreError('The thread that delivers notices ended; ask again.'));
    onEnd(why);
  });
  worker.on('message', (message: FromNotify) => {
    if (message.kind === 'answer') questions.answer(message);
    else if (message.kind === 'fault') onFault(message.text);
    else if (message.kind === 'question') {
      try {
        tell({ kind: 'answer', id: message.id, value: hostAnswer(message.question) });
      } catch (fault) {
        tell({ kind: 'answer', id: message.id, error: fault instanceof Error ? fault.message : String(fault) });
      }
    }
  });
  return {
    ask: (question) => questions.ask(question),
    async close() {
      tell({ kind: 'close' });
      await ended;
    },
  };
}
