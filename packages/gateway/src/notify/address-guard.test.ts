import type { LookupAddress } from 'node:dns';
import { describe, expect, it } from '@jest/globals';
import { forbiddenAddress, guardedLookup } from './address-guard.ts';
import { readWebhookUrl } from './webhook-url.ts';

describe('where webhooks may go', () => {
  it.each([
    ['93.184.216.34', true, true],
    ['2606:2800:220:1:248:1893:25c8:1946', true, true],
    ['127.0.0.1', true, false],
    ['::1', true, false],
    ['10.1.2.3', true, false],
    ['172.16.0.1', true, false],
    ['172.32.0.1', true, true],
    ['192.168.1.1', true, false],
    ['100.64.0.1', true, false],
    ['fd12:3456::1', true, false],
    ['::ffff:10.0.0.1', true, false],
    ['::ffff:93.184.216.34', true, true],
    ['64:ff9b::a00:1', true, false],
    ['2002:a00:1::', true, false],
    // Never, whatever the operator allows: where clouds keep their credentials, and what is no receiver.
    ['169.254.169.254', false, false],
    ['::ffff:169.254.169.254', false, false],
    ['64:ff9b::a9fe:a9fe', false, false],
    ['2002:a9fe:a9fe::', false, false],
    ['fd00:ec2::254', false, false],
    ['100.100.100.200', false, false],
    ['fe80::1%eth0', false, false],
    ['0.0.0.0', false, false],
    ['::', false, false],
    ['224.0.0.1', false, false],
    ['255.255.255.255', false, false],
    ['ff02::1', false, false],
  ])('%s: %s when private addresses are allowed, %s when they are refused', (address, allowed, refused) => {
    expect(forbiddenAddress(address, 'allow') === undefined).toBe(allowed);
    expect(forbiddenAddress(address, 'refuse') === undefined).toBe(refused);
  });

  it('refuses a name as soon as one of its addresses is forbidden, at the moment of the connection', async () => {
    let addresses: LookupAddress[] = [{ address: '93.184.216.34', family: 4 }];
    const resolve = ((_name: string, _options: object, callback: (error: null, found: LookupAddress[]) => void) =>
      callback(null, addresses)) as never;
    const lookup = guardedLookup('refuse', resolve);
    const look = (all: boolean): Promise<unknown> =>
      new Promise((done) => lookup('hook.example', { all }, (error, found) => done(error === null ? found : error.message)));
    expect(await look(true)).toEqual(addresses);
    expect(await look(false)).toBe('93.184.216.34');
    addresses = [...addresses, { address: '10.0.0.5', family: 4 }];
    expect(await look(true)).toContain('public addresses only');
    expect(await look(false)).toContain('public addresses only');
  });
});

describe('a webhook address', () => {
  it.each([
    ['https://example.com/hook', 'https://example.com/hook'],
    ['http://localhost:5678/webhook/a?b=c#d', 'http://localhost:5678/webhook/a?b=c'],
    ['http://automation:5678/x', 'http://automation:5678/x'],
    ['HTTPS://Example.com', 'https://example.com/'],
  ])('%s is kept as %s', (text, url) => expect(readWebhookUrl(text, 'allow')).toEqual({ url }));

  it.each([
    ['example.com/hook', 'whole address'],
    ['ftp://example.com', 'https:// or http://'],
    ['file:///etc/passwd', 'https:// or http://'],
    ['https://user:pass@example.com', 'user or password'],
    ['http://169.254.169.254/latest/meta-data', 'takes no webhooks'],
    ['http://[fe80::1]/', 'takes no webhooks'],
    // Other spellings of the same addresses; the URL standard reads them as such.
    ['http://2852039166/', 'takes no webhooks'],
    ['http://0xA9FEA9FE/', 'takes no webhooks'],
    ['http://0/', 'takes no webhooks'],
    [`https://example.com/${'x'.repeat(2_100)}`, 'at most'],
  ])('%s is refused: %s', (text, problem) => expect(readWebhookUrl(text, 'allow')).toEqual({ problem: expect.stringContaining(problem) }));

  it.each(['http://127.0.0.1/', 'http://[::1]/', 'http://10.0.0.1/', 'http://127.1/'])('%s is refused when private addresses are', (text) =>
    expect(readWebhookUrl(text, 'refuse')).toEqual({ problem: expect.stringContaining('public addresses only') }),
  );
});
