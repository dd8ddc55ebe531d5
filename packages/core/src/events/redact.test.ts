import { describe, expect, it } from '@jest/globals';
import { isSecretName, redact, redactText } from '../index.ts';

describe('field names', () => {
  it.each([
    'authorization',
    'Authorization',
    'Proxy-Authorization',
    'cookie',
    'Set-Cookie',
    'api_key',
    'apiKey',
    'API-KEY',
    'x-api-key',
    'token',
    'access_token',
    'refreshToken',
    'id_token',
    'password',
    'client_secret',
    'private_key',
    'payment_signature',
    'virtual_key',
  ])('%s holds a secret', (name) => expect(isSecretName(name)).toBe(true));
  it.each([
    'input_tokens',
    'output_tokens',
    'token_count',
    'max_tokens',
    'tokens',
    'cookie_policy',
    'passwords_checked',
    'secretary',
    'author',
    'key',
    'keyboard',
    'authorized',
    'tokenizer',
  ])('%s holds none', (name) => expect(isSecretName(name)).toBe(false));
});

describe('texts', () => {
  it.each([
    ['Authorization: Bearer abc123def456', 'Authorization: [redacted]'],
    ['bearer eyJhbGciOi.x.y12345', '[redacted]'],
    ['key sk-proj-AbCdEfGhIjKlMnOpQrSt was refused', 'key [redacted] was refused'],
    ['sk-ant-api03-abcdefghijklmnop', '[redacted]'],
    ['vk-live-0123456789abcdefghij', '[redacted]'],
    ['rp_0123456789abcdefghij', '[redacted]'],
    ['ghp_abcdefghijklmnopqrstuvwxyz0123456789', '[redacted]'],
    ['xoxb-1234567890-abcdefghij', '[redacted]'],
    ['AKIAABCDEFGHIJKLMNOP', '[redacted]'],
    ['AIzaSyA1234567890abcdefghijklmnopqrstuv', '[redacted]'],
    ['jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl', 'jwt [redacted]'],
    ['postgres://user:hunter2@db:5432/x', 'postgres://[redacted]@db:5432/x'],
    ['https://api.test/?api_key=abcdef123&x=1', 'https://api.test/?api_key=[redacted]&x=1'],
    ['{"password": "hunter22"}', '{"password": "[redacted]"}'],
    ['-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY----- after', '[redacted] after'],
    ['-----BEGIN PRIVATE KEY-----\ncut off', '[redacted]'],
    ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', '[redacted]'],
    ['aws_secret_access_key=wJalrXUtnFEMI/K7MDENG', 'aws_secret_access_key=[redacted]'],
    ['Cookie: session=abcdef12; more=1', 'Cookie: [redacted]'],
    ['{"token":"abcdefgh"}', '{"token":"[redacted]"}'],
    ["{'secret': 'abcdefgh'}", "{'secret': '[redacted]'}"],
    ['secret: hunter22', 'secret: [redacted]'],
    ['Authorization: Token abcdefgh', 'Authorization: Token [redacted]'],
    ['"authorization": "Bearer abcdefghij"', '"authorization": "Bearer [redacted]"'],
    ['private_key=abcdefgh', 'private_key=[redacted]'],
    ['passphrase=abcdefgh and pwd=abcdefgh', 'passphrase=[redacted] and pwd=[redacted]'],
    ['AccountKey=abc+def/gh==;EndpointSuffix=x', 'AccountKey=[redacted];EndpointSuffix=x'],
    ['SG.abcdefghijklmnopqr.abcdefghijklmnopqrstuv', '[redacted]'],
    ['https://hooks.slack.com/services/T000/B000/XXXX', 'https://hooks.slack.com/[redacted]'],
    ['https://hooks.zapier.com/hooks/catch/1234/abcd/', 'https://hooks.zapier.com/[redacted]'],
  ])('%s', (text, expected) => {
    expect(redactText(text)).toBe(expected);
    expect(redactText(expected)).toBe(expected);
  });

  it.each([
    'run_1827 of customer_492_support_session',
    'used 120 input_tokens and 30 output_tokens',
    'Unexpected token } in JSON at position 5',
    'the bearer of this ticket',
    'the secret: nobody knows it',
    'Unexpected token: identifier expected',
    'authorization: denied by rule',
    'cookie: none was sent',
    'a password: short',
    'a basic understanding',
    'task-scheduler-with-a-long-name-indeed',
    'https://example.com/path?step=2',
    'gpt-5-mini-2026-08-07',
    'evt_01946f2e8c7a0123456789abcdef',
    'call_abcdefghijklmnopqrstuvwx',
  ])('leaves %s', (text) => expect(redactText(text)).toBe(text));

  it('of a mebibyte made to be slow are read in well under a second', () => {
    const hostile = [
      'bearer '.repeat(150_000),
      `bearer ${'a'.repeat(1_000_000)}`,
      '-----BEGIN '.repeat(100_000),
      `://${'a'.repeat(1_000_000)}`,
      `eyJ${'a'.repeat(500_000)}.eyJ`,
      'api_key='.repeat(130_000),
      `-----BEGIN ${'A '.repeat(300_000)}`,
      `authorization${' '.repeat(500_000)}`,
      'authorization: '.repeat(70_000),
      'cookie: a'.repeat(100_000),
      `cookie: ${'a'.repeat(500_000)}`,
      `token${'"'.repeat(10)}:${' '.repeat(500_000)}`,
      'token: '.repeat(150_000),
      `SG.${'a'.repeat(500_000)}`,
      'hooks.slack.com/'.repeat(60_000),
    ];
    for (const text of hostile) {
      const began = performance.now();
      redactText(text);
      expect([text.slice(0, 12), performance.now() - began < 1_000]).toEqual([text.slice(0, 12), true]);
    }
  });
});

describe('values', () => {
  it('become plain JSON data without secrets at any depth', () => {
    const cyclic: Record<string, unknown> = { name: 'loop' };
    cyclic['again'] = [cyclic];
    const value = {
      headers: [{ Authorization: 'x', accept: 'y' }],
      credentials: { user: 'ann', password: 'p' },
      usage: { input_tokens: 5, token: 'abc', empty_token: null, api_key: null },
      when: new Date(0),
      error: new Error('failed with sk-abcdefghijklmnopqrst'),
      big: 5n,
      nan: NaN,
      nothing: undefined,
      'k sk-abcdefghijklmnopqrst': 1,
      call: () => 1,
      list: [undefined, () => 1],
      cyclic,
    };
    expect(redact(value)).toEqual({
      headers: [{ Authorization: '[redacted]', accept: 'y' }],
      credentials: '[redacted]',
      usage: { input_tokens: 5, token: '[redacted]', empty_token: null, api_key: null },
      when: '1970-01-01T00:00:00.000Z',
      error: 'Error: failed with [redacted]',
      big: '5',
      'k [redacted]': 1,
      nan: null,
      list: [null, null],
      cyclic: { name: 'loop', again: ['[circular]'] },
    });
  });

  it('nested without end are cut', () => {
    let deep: unknown = 'bottom';
    for (let level = 0; level < 100_000; level += 1) deep = [deep];
    expect(JSON.stringify(redact(deep))).toContain('[too deep]');
  });
});
