import type { ReserveEntry, SettleEntry } from '../store/entry.ts';
import type { Store } from '../store/store.ts';

/** A model call of a key, with its end when it has one. */
export interface RecentCall {
  readonly reserve: ReserveEntry;
  readonly settle: SettleEntry | undefined;
}

const PAGE = 1000;
/** Ledger rows looked at for one answer; what lies further back is left out and told so. */
const ROWS_MAX = 20_000;

/** A key's model calls, newest first, since `from`; `isCut` when there may be more than were looked at. */
export async function recentCalls(
  store: Store,
  options: { readonly workspaceId: string; readonly keyId: string; readonly from: number; readonly most?: number },
): Promise<{ readonly calls: readonly RecentCall[]; readonly isCut: boolean }> {
  const { workspaceId, keyId, from, most = Infinity } = options;
  const ends = new Map<string, SettleEntry>();
  const calls: RecentCall[] = [];
  let beforeSeq: number | undefined;
  for (let looked = 0; looked < ROWS_MAX; looked += PAGE) {
    const page = await store.entries({ workspaceId, types: ['reserve', 'settle'], order: 'desc', limit: PAGE, beforeSeq });
    for (const { entry } of page) {
      if (entry.type === 'settle') ends.set(entry.id, entry);
      if (entry.type !== 'reserve') continue;
      const settle = ends.get(entry.id);
      ends.delete(entry.id);
      if (entry.at < from) return { calls, isCut: false };
      if (entry.keyId !== keyId || entry.kind !== 'model' || settle?.status === 'released') continue;
      calls.push({ reserve: entry, settle });
      if (calls.length >= most) return { calls, isCut: false };
    }
    beforeSeq = page.at(-1)?.seq;
    if (page.length < PAGE) return { calls, isCut: false };
  }
  return { calls, isCut: true };
}
