import { isIP } from 'node:net';
import { forbiddenAddress, type PrivateAddresses } from './address-guard.ts';

const URL_CHARACTERS_MAX = 2_048;

/** A receiver's address as it is kept, or why it is none. */
export function readWebhookUrl(text: string, privateAddresses: PrivateAddresses): { readonly url: string } | { readonly problem: string } {
  if (text.length > URL_CHARACTERS_MAX) return { problem: `must be at most ${URL_CHARACTERS_MAX} characters long` };
  if (!URL.canParse(text)) return { problem: 'must be a whole address such as "https://example.com/hook"' };
  const url = new URL(text);
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return { problem: 'must begin with https:// or http://' };
  if (url.username !== '' || url.password !== '')
    return { problem: 'must not hold a user or password; notices are signed, check the signature instead' };
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const reason = isIP(host) === 0 ? undefined : forbiddenAddress(host, privateAddresses);
  if (reason !== undefined) return { problem: `names an address that takes no webhooks: ${reason}` };
  url.hash = '';
  return { url: url.href };
}
