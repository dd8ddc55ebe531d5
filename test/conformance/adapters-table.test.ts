import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { adaptersTable, TABLE_DOCUMENTS, withTable } from './adapters-table.ts';
import { loadScenarios } from './load-scenarios.ts';
import { ADAPTERS } from './registry.ts';
import { toyHarness } from './toy/harness.ts';

describe('the adapters’ table', () => {
  it.each(TABLE_DOCUMENTS)('in %s is what `npm run conformance -- --write` writes', async (path) => {
    const document = readFileSync(path, 'utf8');
    const harnesses = await Promise.all(ADAPTERS.map(async ({ load }) => (await load()).harness));
    expect(document).toBe(withTable(document, adaptersTable(harnesses, loadScenarios())));
  });

  it('numbers what is excepted and says why below', () => {
    const harness = { ...toyHarness('bold'), exceptions: { cancel: 'can not be cancelled', 'retry/direct': 'retries are hidden' } };
    const table = adaptersTable(
      [harness],
      loadScenarios().filter(({ name }) => ['cancel', 'plain-run', 'retry'].includes(name)),
    );
    expect(table.split('\n').slice(2)).toEqual([
      expect.stringMatching(/^\| a cancelled run .* \| 1 +\|$/),
      expect.stringMatching(/^\| a run with a tool .* \| ✓ +\|$/),
      expect.stringMatching(/^\| a retried model call .* \| 2 +\|$/),
      '',
      '1. bold, cancel: can not be cancelled',
      '2. bold, retry (direct): retries are hidden',
    ]);
  });
});
