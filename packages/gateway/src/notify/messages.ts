import type { BudgetStateShape } from '@runpurse/core';
import type { RunRow } from '../store/store.ts';
import type { PrivateAddresses } from './address-guard.ts';
import type { Subscription, SubscriptionState } from './subscription.ts';

/** What the main thread and the thread that delivers notices say to each other. */

export interface NotifyOptions {
  readonly directory: string;
  readonly privateAddresses: PrivateAddresses;
  /** The ledger's end at the start. */
  readonly lastSeq: number;
}

/** The subscription as it is kept: the same one of before, with another secret, where there was one. */
export interface Added {
  readonly subscription: Subscription;
  readonly isNew: boolean;
}

/** A subscription with how much it is still to be told, up to `PENDING_COUNTED_MAX`. */
export type ListedSubscription = SubscriptionState & { readonly pending: number };

export type NotifyQuestion =
  /** Answers `Added`; undefined: the workspace has as many as it may. */
  | { readonly ask: 'add'; readonly subscription: Subscription; readonly secret: string; readonly cursor: number; readonly most: number }
  | { readonly ask: 'remove'; readonly workspaceId: string; readonly id: string }
  | { readonly ask: 'list'; readonly workspaceId: string };

export type ToNotify =
  | { readonly kind: 'question'; readonly id: number; readonly question: NotifyQuestion }
  | { readonly kind: 'answer'; readonly id: number; readonly value?: unknown; readonly error?: string | undefined }
  | { readonly kind: 'close' };

/** What only the main thread knows: budgets live in its memory. */
export type HostQuestion =
  { readonly ask: 'budget-states'; readonly run: RunRow } | { readonly ask: 'budget-name'; readonly budgetId: string };
export type HostAnswer = readonly BudgetStateShape[] | string | undefined;

export type FromNotify =
  | { readonly kind: 'ready' }
  | { readonly kind: 'refused'; readonly error: string }
  | { readonly kind: 'question'; readonly id: number; readonly question: HostQuestion }
  | { readonly kind: 'answer'; readonly id: number; readonly value?: unknown; readonly error?: string | undefined }
  | { readonly kind: 'fault'; readonly text: string };
