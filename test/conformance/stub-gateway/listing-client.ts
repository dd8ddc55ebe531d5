import type { GatewayClient } from '@runpurse/core';
import { createClient } from '@runpurse/core/axios';
import { eventLog, takeEvents, type Deny, type EventLog } from './events.ts';

/** A client of a gateway that is only a list of what it was sent. */
export interface ListingClient extends EventLog {
  readonly client: GatewayClient;
}

export interface ListingOptions {
  readonly deny?: Deny | undefined;
  /** The failure policy is `closed`. */
  readonly closed?: boolean | undefined;
}

/** For unit tests of an adapter, without a network. What the gateway decides is the test's. */
export function listingClient(source: string, baseUrl: string, { deny, closed }: ListingOptions = {}): ListingClient {
  const log = eventLog();
  const client = createClient({
    baseUrl,
    apiKey: 'rp_test',
    source,
    flushOnExit: false,
    failurePolicy: { authorize: closed === true ? 'closed' : 'open' },
    onProblem: () => {},
    transport: {
      async send({ body = '{}' }) {
        const answer = takeEvents(body, log, deny);
        if (answer === undefined) throw new Error('connection refused');
        return { status: answer.status, headers: {}, body: JSON.stringify(answer.json) };
      },
    },
  });
  return { ...log, client };
}
