import { join } from 'node:path';
import { formatUsd } from '@runpurse/core';
import type { Entry } from '../store/entry.ts';
import { FILES, openForReading, type Database } from '../store/sqlite/database.ts';
import type { Finding } from './doctor.ts';

/**
 * Reads the ledger row by row with no help from the store's own folds: each reservation ends at most once, nothing is
 * settled that was never held, and what was charged sums to what the views say.
 */
export function auditLedger(directory: string, isRunning: boolean): readonly Finding[] {
  const findings: Finding[] = [];
  for (const file of [FILES.ledger, FILES.views, FILES.admin]) findings.push(checkFile(directory, file));
  if (findings.some(({ state }) => state === 'problem')) return findings;

  const ledger = openForReading(join(directory, FILES.ledger));
  const views = openForReading(join(directory, FILES.views));
  try {
    // Both in one transaction: a running gateway may fold in between.
    const [foldedSeq, viewed] = views.transaction(
      () =>
        [
          views.prepare<[], number>('SELECT folded_seq FROM progress').pluck().get() ?? 0,
          views
            .prepare<[], bigint | null>("SELECT sum(model_nanos + tool_nanos + retry_nanos) FROM spend WHERE scope = 'workspace'")
            .pluck()
            .safeIntegers()
            .get() ?? 0n,
        ] as const,
    )();
    const audit = readLedger(ledger, foldedSeq);
    findings.push(
      audit.faults.length === 0
        ? { check: 'ledger', state: 'ok', text: `${audit.entries} entries; each reservation ends at most once` }
        : { check: 'ledger', state: 'problem', text: `${audit.faults.length} faults: ${audit.faults.slice(0, 5).join('; ')}` },
      audit.open === 0
        ? { check: 'reservations', state: 'ok', text: 'none is open' }
        : {
            check: 'reservations',
            state: 'notice',
            text: `${audit.open} open, holding $${formatUsd(audit.held)}${isRunning ? '' : ': the next start settles them at what they hold'}`,
          },
    );
    if (viewed !== audit.chargedFolded)
      findings.push({
        check: 'views',
        state: 'problem',
        text: `the views say $${formatUsd(viewed)}, the ledger $${formatUsd(audit.chargedFolded)}: run \`runpurse doctor --rebuild\``,
      });
    else
      findings.push({
        check: 'views',
        state: 'ok',
        text: `agree with the ledger: $${formatUsd(viewed)} charged${foldedSeq < audit.lastSeq ? `, ${audit.lastSeq - foldedSeq} entries still to fold` : ''}`,
      });
    return findings;
  } finally {
    ledger.close();
    views.close();
  }
}

function checkFile(directory: string, file: string): Finding {
  let database: Database | undefined;
  try {
    database = openForReading(join(directory, file));
    const result = database.prepare('PRAGMA quick_check(1)').pluck().get();
    return result === 'ok'
      ? { check: file, state: 'ok', text: 'intact' }
      : { check: file, state: 'problem', text: `damaged: ${String(result)}` };
  } catch (error) {
    return { check: file, state: 'problem', text: `can not be read: ${error instanceof Error ? error.message : String(error)}` };
  } finally {
    database?.close();
  }
}

interface LedgerAudit {
  entries: number;
  lastSeq: number;
  /** Charged by entries that the views have folded. */
  chargedFolded: bigint;
  open: number;
  held: bigint;
  readonly faults: string[];
}

function readLedger(ledger: Database, foldedSeq: number): LedgerAudit {
  const audit: LedgerAudit = { entries: 0, lastSeq: 0, chargedFolded: 0n, open: 0, held: 0n, faults: [] };
  const holds = new Map<string, bigint>();
  for (const row of ledger.prepare<[], { seq: number; body: string }>('SELECT seq, body FROM ledger ORDER BY seq').iterate()) {
    audit.entries += 1;
    audit.lastSeq = row.seq;
    const entry = JSON.parse(row.body) as Entry;
    if (entry.type === 'reserve') {
      if (holds.has(entry.id)) audit.faults.push(`reservation ${entry.id} is held twice`);
      holds.set(entry.id, BigInt(entry.hold));
    } else if (entry.type === 'settle') {
      if (!holds.delete(entry.id)) audit.faults.push(`settlement of ${entry.id} (entry ${row.seq}) ends nothing that is open`);
      if (row.seq <= foldedSeq && entry.cost !== null) audit.chargedFolded += BigInt(entry.cost);
    }
  }
  audit.open = holds.size;
  for (const hold of holds.values()) audit.held += hold;
  return audit;
}
