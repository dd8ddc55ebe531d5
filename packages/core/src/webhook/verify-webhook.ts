import { utf8 } from '../run/sha256.ts';
import { fromBase64, toBase64 } from './base64.ts';
import { hmacSha256 } from './hmac.ts';

export interface ReceivedWebhook {
  /** As `POST /v1/webhooks` gave it, `whsec_…`. */
  readonly secret: string;
  /** As received; names in any case. */
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  /** The body's text exactly as received: parsed and written again it may differ in a byte. */
  readonly body: string;
  /** Epoch milliseconds. */
  readonly now: number;
  /** How far the sender's clock, and the way, may be off. Default 300. */
  readonly toleranceSeconds?: number | undefined;
}

export type WebhookVerdict =
  | {
      readonly type: 'genuine';
      /** The notice's id: whoever keeps the ids it has seen handles each notice once. */
      readonly id: string;
      /** When this delivery was signed, epoch seconds. */
      readonly timestamp: number;
    }
  | { readonly type: 'refused'; readonly reason: string };

const TOLERANCE_S = 300;

/**
 * Tells whether a delivery comes from the gateway that gave the secret, unchanged and not long ago (Standard Webhooks,
 * `webhook-id`, `webhook-timestamp`, `webhook-signature`). For receivers of notices; any Standard Webhooks library does the same.
 */
export function verifyWebhook({ secret, headers, body, now, toleranceSeconds = TOLERANCE_S }: ReceivedWebhook): WebhookVerdict {
  const header = (name: string): string | undefined => {
    const value = Object.entries(headers).find(([key]) => key.toLowerCase() === name)?.[1];
    return typeof value === 'string' ? value : value?.[0];
  };
  const [id, time, signatures] = [header('webhook-id'), header('webhook-timestamp'), header('webhook-signature')];
  if (id === undefined || id === '' || time === undefined || signatures === undefined)
    return refused('it carries no webhook-id, webhook-timestamp and webhook-signature');
  const key = fromBase64(secret.trim().replace(/^whsec_/, ''));
  if (key === undefined) return refused('the secret is not one that the gateway gave: whsec_ and base64');
  if (!/^\d{1,12}$/.test(time)) return refused('its webhook-timestamp is no time');
  const timestamp = Number(time);
  const expected = toBase64(hmacSha256(key, utf8(`${id}.${time}.${body}`)));
  const isSigned = signatures
    .split(' ')
    .filter((signature) => signature.startsWith('v1,'))
    .map((signature) => isSame(signature.slice(3), expected))
    .includes(true);
  if (!isSigned) return refused('its signature does not fit: another secret, or the body was changed on the way');
  if (Math.abs(now / 1000 - timestamp) > toleranceSeconds) return refused('it was signed too long ago, or the clocks differ');
  return { type: 'genuine', id, timestamp };
}

function refused(reason: string): WebhookVerdict {
  return { type: 'refused', reason };
}

/** Takes as long whatever differs. */
function isSame(given: string, expected: string): boolean {
  let difference = given.length ^ expected.length;
  for (let at = 0; at < expected.length; at += 1) difference |= given.charCodeAt(at % Math.max(1, given.length)) ^ expected.charCodeAt(at);
  return difference === 0;
}
