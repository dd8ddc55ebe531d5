import { createHash } from 'node:crypto';
import { expect, it } from '@jest/globals';
import { sha256 } from './sha256.ts';

it('is SHA-256 as Node knows it, for every length around a block and any script', () => {
  const texts = [
    ...Array.from({ length: 200 }, (_, length) => 'a'.repeat(length)),
    'ü顧🙂'.repeat(77),
    '\u0000\u007f\u0080\u07ff\u0800\uffff',
    'x'.repeat(100_000),
    'lone \ud800 surrogate',
  ];
  for (const text of texts) expect(sha256(text)).toBe(createHash('sha256').update(text.toWellFormed()).digest('hex'));
});
