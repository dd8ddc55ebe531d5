import type { StoredBudget, StoredKey } from '../store.ts';
import type { Durability } from './database.ts';

/** What the main thread and the two worker threads say to each other. */

export interface WriterOptions {
  readonly directory: string;
  readonly durability: Durability;
  readonly maxSizeMb: number | undefined;
}

export type ToWriter =
  /** `lines` are entries as JSON, one a line; `ranges` their sequence numbers as first, count, first, count … */
  | { readonly kind: 'write'; readonly ranges: readonly number[]; readonly lines: string }
  /** Can anything be written at all? Asked while the last write failed and none is waiting. */
  | { readonly kind: 'probe' }
  | { readonly kind: 'resize'; readonly maxSizeMb: number | undefined }
  | { readonly kind: 'put-key'; readonly id: number; readonly key: StoredKey }
  | { readonly kind: 'put-budget'; readonly id: number; readonly budget: StoredBudget }
  | { readonly kind: 'delete-budget'; readonly id: number; readonly budgetId: string }
  | { readonly kind: 'close' };

export type FromWriter =
  | { readonly kind: 'ready'; readonly lastSeq: number }
  /** The one outstanding write or probe is durable (`error` undefined) or left no trace. */
  | { readonly kind: 'written'; readonly error: string | undefined }
  | { readonly kind: 'answer'; readonly id: number; readonly value?: unknown; readonly error?: string | undefined }
  | { readonly kind: 'refused'; readonly error: string };

export interface FolderOptions {
  readonly directory: string;
  readonly lastSeq: number;
}

/** The reads of `ViewQueries` that the API asks, and the proof of the views. */
export type Question = 'run' | 'runs' | 'entries' | 'spend' | 'spendByDay' | 'rebuild';

export type ToFolder =
  /** Fold what is durable up to this sequence number. */
  | { readonly kind: 'fold'; readonly through: number }
  /** Fold, then answer. */
  | { readonly kind: 'ask'; readonly id: number; readonly through: number; readonly question: Question; readonly args: readonly unknown[] }
  | { readonly kind: 'close' };

export type FromFolder =
  | { readonly kind: 'ready' }
  /** The views hold all that is durable up to `seq`. */
  | { readonly kind: 'folded'; readonly seq: number }
  | { readonly kind: 'not-folded'; readonly error: string }
  | { readonly kind: 'answer'; readonly id: number; readonly value?: unknown; readonly error?: string | undefined }
  | { readonly kind: 'refused'; readonly error: string };
