import type { Entry, ReserveEntry } from '../store/entry.ts';
import { nanosOf } from './run-fold.ts';

/** Where money stands: not committed yet, held for calls in flight, spent. */
export type Account = 'available' | 'held' | 'spent';

/** One side of a movement; each movement has a debit and a credit of the same amount. */
export interface BookLine {
  readonly seq: number;
  readonly movement: 'hold' | 'charge' | 'release' | 'overage';
  readonly workspaceId: string;
  readonly account: Account;
  readonly debit: bigint;
  readonly credit: bigint;
}

/**
 * The ledger as double-entry books: a reservation holds, its end charges what was used, releases the rest, and books what
 * went above the hold as overage. Debits equal credits over any stretch of the ledger.
 */
export function bookLines(entries: readonly Entry[]): BookLine[] {
  const open = new Map<string, ReserveEntry>();
  const lines: BookLine[] = [];
  for (const [index, entry] of entries.entries()) {
    const move = (movement: BookLine['movement'], from: Account, to: Account, nanos: bigint): void => {
      if (nanos === 0n) return;
      const common = { seq: index + 1, movement, workspaceId: entry.workspaceId };
      lines.push({ ...common, account: to, debit: nanos, credit: 0n }, { ...common, account: from, debit: 0n, credit: nanos });
    };
    if (entry.type === 'reserve') {
      open.set(entry.id, entry);
      move('hold', 'available', 'held', nanosOf(entry.hold));
    } else if (entry.type === 'settle') {
      const reserve = open.get(entry.id);
      if (reserve === undefined) continue;
      open.delete(entry.id);
      const hold = nanosOf(reserve.hold);
      const cost = entry.status === 'released' || entry.cost === null ? 0n : nanosOf(entry.cost);
      const charge = cost < hold ? cost : hold;
      move('charge', 'held', 'spent', charge);
      move('release', 'held', 'available', hold - charge);
      move('overage', 'available', 'spent', cost - charge);
    }
  }
  return lines;
}

/** What stands on an account: debits less credits. */
export function balanceOf(lines: readonly BookLine[], account: Account, workspaceId: string): bigint {
  return lines
    .filter((line) => line.account === account && line.workspaceId === workspaceId)
    .reduce((sum, line) => sum + line.debit - line.credit, 0n);
}
