import { join } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import type { BudgetStateShape } from '@runpurse/core';
import { readAdminTables } from '../store/sqlite/admin-tables.ts';
import { FILES, openForReading } from '../store/sqlite/database.ts';
import { createQuestions, yieldToCalls } from '../store/sqlite/threads.ts';
import { createViewQueries } from '../store/sqlite/view-queries.ts';
import { createDeliverer } from './deliver.ts';
import type { Added, FromNotify, HostQuestion, ListedSubscription, NotifyOptions, NotifyQuestion, ToNotify } from './messages.ts';
import { readNoted, type NoticeSource } from './read-notices.ts';
import { createSender } from './send.ts';
import { NOTICES_FILE, openSubscriptionFile } from './subscription-file.ts';
import { isSame } from './subscription.ts';

/**
 * The thread that delivers notices: it reads the ledger behind the views, writes the subscriptions' file and speaks to the
 * receivers, so that nothing of it is done on the path of a call.
 */

/** How often it looks whether the views moved. */
const LOOK_MS = 200;
/** `pending` is counted so far; more is as much. */
const PENDING_COUNTED_MAX = 1_000;
/** … as far as so many entries of the ledger tell. */
const PENDING_SCANNED_MAX = 1_000;

const say = (message: FromNotify): void => parentPort?.postMessage(message);
const describe = (fault: unknown): string => (fault instanceof Error ? (fault.stack ?? fault.message) : String(fault));

function start(options: NotifyOptions): void {
  yieldToCalls();
  const { directory } = options;
  const file = openSubscriptionFile(directory);
  file.clamp(options.lastSeq);
  const [views, ledger, adminDatabase] = [FILES.views, FILES.ledger, FILES.admin].map((name) => openForReading(join(directory, name)));
  if (views === undefined || ledger === undefined || adminDatabase === undefined) return;
  const queries = createViewQueries(views, ledger);
  const admin = readAdminTables(adminDatabase);
  const host = createQuestions((id, question: HostQuestion) => say({ kind: 'question', id, question }));
  const source: NoticeSource = {
    entries: async (filter) => queries.entries(filter),
    run: async (workspaceId, runId) => queries.run(workspaceId, runId),
    budgetStates: async (run) => (await host.ask({ ask: 'budget-states', run })) as readonly BudgetStateShape[],
    budgetName: async (budgetId) => (await host.ask({ ask: 'budget-name', budgetId })) as string | undefined,
  };
  const sender = createSender({ privateAddresses: options.privateAddresses });
  const deliverer = createDeliverer({
    source,
    file,
    sender,
    now: Date.now,
    random: Math.random,
    foldedSeq: queries.foldedSeq,
    isKeyValid: (keyId) => admin.keyById(keyId)?.revokedAt === undefined,
    onFault: (fault) => say({ kind: 'fault', text: describe(fault) }),
  });
  const timer = setInterval(() => deliverer.tick(), LOOK_MS);

  const list = (workspaceId: string): Promise<ListedSubscription[]> =>
    Promise.all(
      file.states(workspaceId).map(async (state) => {
        const { id, events, workflow, agent } = state.subscription;
        const afterSeq = deliverer.cursorOf(id) ?? file.standing(id)?.cursor ?? 0;
        const query = { workspaceId, types: events, workflow, agent };
        const { noted } = await readNoted(source, query, { afterSeq }, PENDING_COUNTED_MAX, PENDING_SCANNED_MAX);
        return { ...state, pending: state.parked + noted.length };
      }),
    );
  const answer = async (question: NotifyQuestion): Promise<unknown> => {
    switch (question.ask) {
      case 'add': {
        const { subscription, secret } = question;
        const same = file.all().find((one) => isSame(one, subscription));
        if (same === undefined && file.count(subscription.workspaceId) >= question.most) return undefined;
        const kept = { ...subscription, ...(same && { id: same.id, createdAt: same.createdAt }) };
        if (same === undefined) file.add(kept, secret, question.cursor);
        else {
          deliverer.remove(same.id);
          file.renew(kept, secret);
        }
        deliverer.add(kept);
        return { subscription: kept, isNew: same === undefined } satisfies Added;
      }
      case 'remove':
        if (file.find(question.id)?.subscription.workspaceId !== question.workspaceId) return false;
        deliverer.remove(question.id);
        return file.remove(question.id);
      case 'list':
        return list(question.workspaceId);
    }
  };
  const close = async (): Promise<void> => {
    clearInterval(timer);
    await deliverer.close();
    await sender.close();
    file.close();
    for (const database of [views, ledger, adminDatabase]) database.close();
    parentPort?.close();
  };
  parentPort?.on('message', (message: ToNotify) => {
    if (message.kind === 'answer') host.answer(message);
    else if (message.kind === 'close') void close();
    else
      answer(message.question).then(
        (value) => say({ kind: 'answer', id: message.id, value }),
        (fault: unknown) => say({ kind: 'answer', id: message.id, error: fault instanceof Error ? fault.message : String(fault) }),
      );
  });
  say({ kind: 'ready' });
}

try {
  start(workerData as NotifyOptions);
} catch (fault) {
  const why = fault instanceof Error ? fault.message : String(fault);
  const options = workerData as NotifyOptions;
  say({ kind: 'refused', error: `The webhooks in ${join(options.directory, NOTICES_FILE)} can't be read: ${why}` });
}
