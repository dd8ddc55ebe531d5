import { createHmac, randomBytes, randomInt } from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import { fromBase64, toBase64 } from './base64.ts';
import { hmacSha256 } from './hmac.ts';
import { verifyWebhook } from './verify-webhook.ts';

const KEY = Buffer.from('a key of twenty-four byte');
const SECRET = `whsec_${KEY.toString('base64')}`;
const NOW = Date.UTC(2026, 10, 24, 12);
const BODY = '{"id":"ntc_1","type":"run.ended","data":{"name":"Zoë 🧾"}}';

function signed(id = 'ntc_1', atMs = NOW, body = BODY, key = KEY): Record<string, string> {
  const time = String(Math.floor(atMs / 1000));
  const signature = createHmac('sha256', key).update(`${id}.${time}.${body}`).digest('base64');
  return { 'webhook-id': id, 'webhook-timestamp': time, 'webhook-signature': `v1,${signature}` };
}

describe('verifyWebhook', () => {
  it('knows a delivery of the gateway, and says which notice it is', () => {
    expect(verifyWebhook({ secret: SECRET, headers: signed(), body: BODY, now: NOW })).toEqual({
      type: 'genuine',
      id: 'ntc_1',
      timestamp: NOW / 1000,
    });
  });

  it.each<[string, Partial<Parameters<typeof verifyWebhook>[0]>, string]>([
    ['a changed body', { body: BODY.replace('ended', 'began') }, 'signature'],
    ['another secret', { headers: signed('ntc_1', NOW, BODY, Buffer.from('another')) }, 'signature'],
    ['another id', { headers: { ...signed(), 'webhook-id': 'ntc_2' } }, 'signature'],
    ['another time', { headers: { ...signed(), 'webhook-timestamp': String(NOW / 1000 + 1) } }, 'signature'],
    ['an old delivery', { headers: signed('ntc_1', NOW - 301_000) }, 'too long ago'],
    ['a delivery from the future', { headers: signed('ntc_1', NOW + 302_000) }, 'too long ago'],
    ['no headers', { headers: {} }, 'carries no'],
    ['an empty signature', { headers: { ...signed(), 'webhook-signature': '' } }, 'signature'],
    ['half a signature', { headers: { ...signed(), 'webhook-signature': signed()['webhook-signature']?.slice(0, -9) } }, 'signature'],
    [
      'a signature with something behind it',
      { headers: { ...signed(), 'webhook-signature': `${signed()['webhook-signature'] ?? ''}x` } },
      'signature',
    ],
    ['a signature of another version', { headers: { ...signed(), 'webhook-signature': 'v2,abc' } }, 'signature'],
    ['a secret that is none', { secret: 'whsec_%%' }, 'secret'],
    ['a time that is none', { headers: { ...signed(), 'webhook-timestamp': 'noon' } }, 'no time'],
  ])('refuses %s', (_what, change, reason) => {
    expect(verifyWebhook({ secret: SECRET, headers: signed(), body: BODY, now: NOW, ...change })).toEqual({
      type: 'refused',
      reason: expect.stringContaining(reason),
    });
  });

  it('reads header names in any case, lists of values, and one fitting signature among several', () => {
    const headers = signed();
    const odd = {
      'Webhook-Id': [headers['webhook-id'] ?? ''],
      'WEBHOOK-TIMESTAMP': headers['webhook-timestamp'],
      'webhook-signature': `v1,AAAA v1a,BBBB ${headers['webhook-signature'] ?? ''}`,
    };
    expect(verifyWebhook({ secret: SECRET, headers: odd, body: BODY, now: NOW }).type).toBe('genuine');
  });

  it('takes a tolerance of its own', () => {
    const old = { secret: SECRET, headers: signed('ntc_1', NOW - 3_000_000), body: BODY, now: NOW };
    expect(verifyWebhook({ ...old, toleranceSeconds: 3_600 }).type).toBe('genuine');
  });
});

describe('hmacSha256 and base64', () => {
  it('agree with node:crypto and Buffer on bytes of any length', () => {
    for (let round = 0; round < 200; round += 1) {
      const [key, message] = [randomBytes(randomInt(0, 130)), randomBytes(randomInt(0, 300))];
      const digest = createHmac('sha256', key).update(message).digest();
      expect(toBase64(hmacSha256([...key], [...message]))).toBe(digest.toString('base64'));
      expect(toBase64([...message])).toBe(message.toString('base64'));
      if (message.length > 0) expect(fromBase64(message.toString('base64'))).toEqual([...message]);
    }
  });

  it('take a message of a megabyte', () => {
    const message = Buffer.alloc(1_000_000, 'x');
    const expected = createHmac('sha256', KEY).update(message).digest('base64');
    expect(toBase64(hmacSha256([...KEY], [...message]))).toBe(expected);
  });
});
