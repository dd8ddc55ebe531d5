import { UNTOLD_ENDS } from '@runpurse/core';
import type { Clock } from '../gateway.ts';
import type { Entry, ReserveEntry } from '../store/entry.ts';
import type { Store } from '../store/store.ts';

/**
 * Ends what a crash left open, before anything else is decided: each reservation without a settlement is charged at its
 * hold and marked unconfirmed (DESIGN §5.5); without a known price its cost stays unknown. Resolves when that is durable
 * and in the views. Returns how many there were.
 */
export async function recoverReservations(store: Store, clock: Clock): Promise<number> {
  const lost = store.openReservations();
  const [first] = lost;
  if (first === undefined) return 0;
  await store.append(lost.flatMap((reserve) => endingsOf(reserve, clock.now())));
  // A read answers with all that was appended before it: from here on memory may be loaded from the views.
  await store.run(first.workspaceId, first.runId);
  return lost.length;
}

function endingsOf(reserve: ReserveEntry, now: number): Entry[] {
  const { id, workspaceId, keyId, runId } = reserve;
  const error = `${UNTOLD_ENDS.lost}; ${reserve.priceUnknown === true ? 'its price is unknown' : 'charged at its hold'}`;
  const settle: Entry = {
    type: 'settle',
    at: now,
    id,
    workspaceId,
    runId,
    status: 'aborted',
    cost: reserve.priceUnknown === true ? null : reserve.hold,
    unconfirmed: true,
    error,
  };
  return reserve.implicitRun === true
    ? [settle, { type: 'run', at: now, op: 'end', status: 'failed', reason: error, workspaceId, keyId, runId }]
    : [settle];
}
