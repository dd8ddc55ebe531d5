import type { NoticeFilter, NoticeType } from './notice.ts';

/** A webhook: where the notices of one workspace go. */
export interface Subscription extends NoticeFilter {
  readonly id: string;
  readonly workspaceId: string;
  /** The key that made it. Revoking the key ends it: a leaked key must not go on telling. */
  readonly keyId: string;
  readonly url: string;
  readonly events: readonly NoticeType[];
  readonly description?: string | undefined;
  readonly createdAt: number;
}

/** Do both tell the same address the same? Then one of them is the other, asked for again. */
export function isSame(one: Subscription, other: Subscription): boolean {
  const told = ({ workspaceId, url, workflow, agent, events }: Subscription): string =>
    JSON.stringify([workspaceId, url, workflow, agent, [...events].sort()]);
  return told(one) === told(other);
}

/** How a subscription stands. */
export interface SubscriptionState {
  readonly subscription: Subscription;
  readonly lastDelivery: { readonly at: number; readonly status: number | null; readonly error?: string | undefined } | undefined;
  /** Since when every delivery failed. */
  readonly failingSince: number | undefined;
  /** Notices that wait to be tried again. */
  readonly parked: number;
}

/** A notice that was tried and is tried again. */
export interface Parked {
  readonly seq: number;
  readonly noticeId: string;
  readonly attempts: number;
  readonly firstAt: number;
  readonly nextAt: number;
}
