import { describe, expect, it } from '@jest/globals';
import type { DecisionEntry } from '../store/entry.ts';
import { NOTICE_TYPES } from './notice.ts';
import { listNotices, type NoticeSource } from './read-notices.ts';

const denial = (seq: number): { readonly seq: number; readonly entry: DecisionEntry } => ({
  seq,
  entry: {
    type: 'decision',
    at: 0,
    id: `dec_${seq}`,
    workspaceId: 'acme',
    keyId: 'k',
    phase: 'model_request',
    outcome: seq % 3 === 0 ? 'audited' : 'denied',
    code: 'policy_denied',
    reason: `refused ${'x'.repeat(500)}`,
    subject: 'gpt',
  },
});

/** A ledger of refusals, each third of them only audited. */
function sourceOf(entries: number): { readonly source: NoticeSource; readonly reads: number[] } {
  const reads: number[] = [];
  return {
    reads,
    source: {
      async entries({ beforeSeq = entries + 1, limit }) {
        reads.push(limit);
        const from = Math.min(beforeSeq - 1, entries);
        return Array.from({ length: Math.max(0, Math.min(limit, from)) }, (_, index) => denial(from - index));
      },
      run: async () => undefined,
      budgetStates: async () => [],
      budgetName: async () => undefined,
    },
  };
}

const query = { workspaceId: 'acme', types: NOTICE_TYPES };

async function readAll(source: NoticeSource, limit: number, charactersMax?: number): Promise<string[][]> {
  const pages: string[][] = [];
  for (let before: number | undefined, last = false; !last;) {
    const { data, nextSeq } = await listNotices(source, query, before, limit, charactersMax);
    pages.push(data.map(({ id }) => id));
    before = nextSeq;
    last = nextSeq === undefined;
  }
  return pages;
}

describe('a page of notices', () => {
  it.each([1, 7, 100])('of %i at most: all pages together hold each notice once', async (limit) => {
    const pages = await readAll(sourceOf(500).source, limit);
    const ids = pages.flat();
    expect(ids).toHaveLength(new Set(ids).size);
    expect(ids).toHaveLength(334);
    expect(Math.max(...pages.map((page) => page.length))).toBeLessThanOrEqual(limit);
  });

  it('ends early once it is long, and the next one goes on behind it', async () => {
    const pages = await readAll(sourceOf(90).source, 50, 2_000);
    expect(pages.flat()).toHaveLength(60);
    expect(Math.max(...pages.map((page) => page.length))).toBeLessThanOrEqual(4);
    // One notice that is longer than a page is a page.
    expect((await readAll(sourceOf(9).source, 50, 10)).map((page) => page.length)).toEqual([1, 1, 1, 1, 1, 1]);
  });

  it('looks through a bounded part of the ledger for a filter that fits nothing', async () => {
    const { source, reads } = sourceOf(100_000);
    const { data, nextSeq } = await listNotices(source, { ...query, workflow: 'nobody' }, undefined, 10);
    expect(data).toEqual([]);
    expect(nextSeq).toBeGreaterThan(90_000);
    expect(reads.reduce((sum, limit) => sum + limit, 0)).toBeLessThanOrEqual(5_200);
  });
});
