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
  ['http://gateway.test:8787', 'http://GATEWAY.test:8787/v1', true],
  ['HTTP://gateway.test', 'http://gateway.test:80/v1', true],
  ['https://gateway.test:443', 'https://gateway.test/v1', true],
  ['https://gateway.test', 'http://gateway.test/v1', false],
  ['http://localhost:8787', 'http://127.0.0.1:8787/v1', true],
  ['http://127.0.0.1:8787', 'http://[::1]:8787/v1', true],
  ['http://localhost:8787', 'http://localhost:8788/v1', false],
  ['http://proxy.test/runpurse/v1', 'http://proxy.test/runpurse/v1/responses', true],
  ['http://proxy.test/runpurse', 'http://proxy.test/other/v1', false],
  ['http://gateway.test', '/v1/responses', false],
  ['http://gateway.test', undefined, false],
])('at %s, %s is at the gateway: %s', (baseUrl, url, expected) => {
  expect(isAtGateway(baseUrl, url)).toBe(expected);
});
