import type { Nanos } from '@runpurse/core';
import type { Store } from '../store/store.ts';
import { SCOPE_ID, type Charged, type CountedScope } from './scope-id.ts';
import { windowDays, windowKey, type Window } from './windows.ts';

/** A charge that is in the ledger's queue but perhaps not folded into the views yet. */
interface RecentCharge {
  readonly seq: number;
  /** When it was reserved: the window it belongs to. */
  readonly at: number;
  readonly charged: Nanos;
  readonly subject: Charged;
}

/**
 * Exact spend of any scope id at any instant: what the views have folded plus the charges made after that. Lets a counter
 * begin in the middle of traffic (a budget made today over the spend of this month) without missing or doubling a charge.
 */
export interface SpendMemory {
  note(charge: RecentCharge): void;
  spent(scope: CountedScope, workspaceId: string, id: string, window: Window, now: number): Nanos;
  trim(foldedSeq: number): void;
}

export function createSpendMemory(store: Pick<Store, 'peekSpent' | 'peekSession'>): SpendMemory {
  let recent: RecentCharge[] = [];
  return {
    note(charge) {
      recent.push(charge);
    },
    spent(scope, workspaceId, id, window, now) {
      const { nanos, asOfSeq } = folded(store, scope, workspaceId, id, window, now);
      const instance = windowKey(window, now);
      let total = nanos;
      for (let index = recent.length - 1; index >= 0; index -= 1) {
        const charge = recent[index];
        if (charge === undefined || charge.seq <= asOfSeq) break;
        if (
          charge.subject.workspaceId === workspaceId &&
          SCOPE_ID[scope](charge.subject) === id &&
          windowKey(window, charge.at) === instance
        )
          total += charge.charged;
      }
      return total;
    },
    trim(foldedSeq) {
      const first = recent.findIndex((charge) => charge.seq > foldedSeq);
      if (first === -1) recent = [];
      else if (first > 0) recent = recent.slice(first);
    },
  };
}

/** A session's lifetime is the sum over its runs, so that a run which named its session late is counted whole. */
function folded(
  store: Pick<Store, 'peekSpent' | 'peekSession'>,
  scope: CountedScope,
  workspaceId: string,
  id: string,
  window: Window,
  now: number,
): { readonly nanos: Nanos; readonly asOfSeq: number } {
  if (scope === 'session' && window === 'lifetime') {
    const totals = store.peekSession(workspaceId, id);
    if (totals !== undefined) return { nanos: totals.spentNanos, asOfSeq: totals.asOfSeq };
  }
  const { fromDay, toDay } = windowDays(window, now);
  return store.peekSpent(workspaceId, scope, id, fromDay, toDay);
}
