import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { adaptersSummary, adaptersTable, TABLE_DOCUMENTS, withTable } from './adapters-table.ts';
import { loadScenarios } from './load-scenarios.ts';
import { ADAPTERS } from './registry.ts';
import { toyHarness } from './toy/harness.ts';

describe('the adapters’ table', () => {
  it.each(TABLE_DOCUMENTS)('in $path is what `npm run conformance -- --write` writes', async ({ path, table }) => {
    const document = readFileSync(path, 'utf8');
    const harnesses = await Promise.all(ADAPTERS.map(async ({ load }) => (await load()).harness));
    expect(document).toBe(withTable(document, table(harnesses, loadScenarios())));
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

  it('sums up in a row what an adapter plays of each mode', () => {
    const harness = { ...toyHarness('bold'), exceptions: { cancel: 'can not be cancelled', 'retry/direct': 'retries are hidden' } };
    const scenarios = loadScenarios().filter(({ name }) => ['cancel', 'plain-run', 'retry'].includes(name));
    const [, , both] = adaptersSummary([harness], scenarios).split('\n');
    expect(both?.replace(/ +/g, ' ')).toMatch(/ \| 2 of 3 \| 1 of 3 \|$/);
    const [, , one] = adaptersSummary([{ ...harness, modes: ['carried'] }], scenarios).split('\n');
    expect(one?.replace(/ +/g, ' ')).toMatch(/ \| 2 of 3 \| · \|$/);
  });
});
