export { attemptOf, refusalReply, type FetchedCall } from './fetched-call.ts';
export { meteredFetch } from './metered-fetch.ts';
