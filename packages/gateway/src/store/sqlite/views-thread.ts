import { join } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { FILES, errorCode, openForReading } from './database.ts';
import type { FolderOptions, FromFolder, ToFolder } from './messages.ts';
import { rebuildViews } from './rebuild.ts';
import { yieldToCalls } from './threads.ts';
import { createViewQueries } from './view-queries.ts';
import { createLedgerFold, openViewsFile } from './views-file.ts';

/**
 * The thread that folds the ledger into the views and answers the API's reads from them. It is not the one that writes the
 * ledger, so neither a long fold nor a long read delays a commit.
 */

const say = (message: FromFolder): void => parentPort?.postMessage(message);

function describe(error: unknown): string {
  const code = errorCode(error);
  const message = error instanceof Error ? error.message : String(error);
  return code === '' ? message : `${message} (${code})`;
}

function start(options: FolderOptions): void {
  yieldToCalls();
  const ledger = openForReading(join(options.directory, FILES.ledger));
  const views = openViewsFile(options.directory, options.lastSeq);
  const fold = createLedgerFold(views, ledger);
  const queries = createViewQueries(views, ledger);
  const report = (seq: number): void => say({ kind: 'folded', seq });

  const answer = ({ question, args, through }: Extract<ToFolder, { kind: 'ask' }>): unknown => {
    if (question === 'rebuild') return rebuildViews(options.directory, views, ledger, through);
    const read = queries[question] as (...args: readonly unknown[]) => unknown;
    return read(...args);
  };

  parentPort?.on('message', (message: ToFolder) => {
    switch (message.kind) {
      case 'fold':
        try {
          fold.foldThrough(message.through, report);
          // Numbers that no row has (a write that failed) count as folded too.
          report(message.through);
        } catch (error) {
          say({ kind: 'not-folded', error: describe(error) });
        }
        return;
      case 'ask':
        try {
          fold.foldThrough(message.through, report);
          say({ kind: 'answer', id: message.id, value: answer(message) });
        } catch (error) {
          say({ kind: 'answer', id: message.id, error: describe(error) });
        }
        return;
      case 'close':
        views.close();
        ledger.close();
        parentPort?.close();
        return;
    }
  });
  fold.foldThrough(options.lastSeq);
  say({ kind: 'ready' });
}

try {
  start(workerData as FolderOptions);
} catch (error) {
  say({ kind: 'refused', error: describe(error) });
}
