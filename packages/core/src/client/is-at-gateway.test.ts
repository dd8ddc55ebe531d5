import { expect, it } from '@jest/globals';
import { isAtGateway } from './is-at-gateway.ts';

it.each([
  ['http://gateway.test:8787', 'http://gateway.test:8787', true],
  ['http://gateway.test:8787', 'http://gateway.test:8787/v1/chat/completions', true],
  ['http://gateway.test:8787/', 'http://gateway.test:8787/v1', true],
  ['http://gateway.test:8787/v1', 'http://gateway.test:8787/v1/responses', true],
  ['http://gateway.test:8787/v1/', 'http://gateway.test:8787/v1/responses', true],
  ['http://gateway.test:878', 'http://gateway.test:8787/v1', false],
  ['http://gateway.test', 'http://gateway.test.evil.test/v1', false],
  ['http://gateway.test', undefined, false],
])('at %s, %s is at the gateway: %s', (baseUrl, url, expected) => {
  expect(isAtGateway(baseUrl, url)).toBe(expected);
});
