export { NOTICE_TYPES, noticeOf, type Notice, type NoticeFilter, type NoticeType } from './notice.ts';
export { listNotices, type NoticeSource } from './read-notices.ts';
export { startNotifier, SUBSCRIPTIONS_PER_WORKSPACE_MAX, type Notifier } from './start-notifier.ts';
export type { ListedSubscription } from './messages.ts';
export type { Subscription } from './subscription.ts';
export { readWebhookUrl } from './webhook-url.ts';
