import type { BudgetStateShape, RunShape } from '@runpurse/core';
import type { EntryFilter, RunRow, Sequenced } from '../store/store.ts';
import { foldRun, summarizeRun } from '../views/index.ts';
import { ENTRY_TYPES, endedData, noted, noticeOf, refusedData, thresholdData } from './notice.ts';
import type { Notice, NoticeFilter, NoticeType, Noted } from './notice.ts';

/** What notices are read from: the ledger and its views, and the budgets as they are enforced. */
export interface NoticeSource {
  entries(filter: EntryFilter): Promise<readonly Sequenced[]>;
  run(workspaceId: string, runId: string): Promise<RunRow | undefined>;
  budgetStates(run: RunRow): Promise<readonly BudgetStateShape[]>;
  /** Undefined when the budget is gone or nobody named it. */
  budgetName(budgetId: string): Promise<string | undefined>;
}

export interface NoticeQuery extends NoticeFilter {
  readonly workspaceId: string;
  readonly types: readonly NoticeType[];
}

export interface NotedPage {
  readonly noted: readonly Noted[];
  /** The last entry looked at; undefined when there was none. */
  readonly lastSeq: number | undefined;
  /** Nothing is left beyond it. */
  readonly isEnd: boolean;
}

/** Entries looked at in one read: few at first, since a webhook takes only a few notices at once. */
const FIRST_PAGE_ENTRIES = 16;
const PAGE_ENTRIES = 200;
/** Entries looked at before a page is given back unfilled: a filter that matches nothing must not read a whole ledger at once. */
const SCAN_ENTRIES_MAX = 5_000;
/** A run of more entries than this is told without its lists, as is a notice that would be longer than this. */
const RUN_ENTRIES_MAX = 5_000;
const NOTICE_CHARACTERS_MAX = 1_000_000;
const PAGE_CHARACTERS_MAX = 4_000_000;

/** The next at most `limit` entries to tell of, oldest first after `afterSeq` or newest first before `beforeSeq`. */
export async function readNoted(
  source: NoticeSource,
  query: NoticeQuery,
  page: { readonly afterSeq: number } | { readonly beforeSeq: number | undefined },
  limit: number,
  scanMax = SCAN_ENTRIES_MAX,
): Promise<NotedPage> {
  const order = 'afterSeq' in page ? 'asc' : 'desc';
  const types = [...new Set(query.types.map((type) => ENTRY_TYPES[type]))];
  const found: Noted[] = [];
  let lastSeq: number | undefined;
  for (let scanned = 0; scanned < scanMax;) {
    const asked = scanned === 0 ? Math.min(PAGE_ENTRIES, FIRST_PAGE_ENTRIES + limit) : PAGE_ENTRIES;
    const rows = await source.entries({
      workspaceId: query.workspaceId,
      types,
      order,
      limit: asked,
      ...('afterSeq' in page ? { afterSeq: lastSeq ?? page.afterSeq } : { beforeSeq: lastSeq ?? page.beforeSeq }),
    });
    for (const row of rows) {
      const { entry } = row;
      const run = entry.runId === undefined ? undefined : await source.run(entry.workspaceId, entry.runId);
      const one = noted(row, run, query.types, query);
      if (one !== undefined) found.push(one);
      lastSeq = row.seq;
      if (found.length >= limit) return { noted: found, lastSeq, isEnd: false };
    }
    scanned += rows.length;
    if (rows.length < asked) return { noted: found, lastSeq, isEnd: true };
  }
  return { noted: found, lastSeq, isEnd: false };
}

/** A page of notices for whoever lists them, newest first. Ends early once it is long, so that no answer fills the memory. */
export async function listNotices(
  source: NoticeSource,
  query: NoticeQuery,
  beforeSeq: number | undefined,
  limit: number,
  charactersMax = PAGE_CHARACTERS_MAX,
): Promise<{ readonly data: readonly Notice[]; readonly nextSeq: number | undefined }> {
  const page = await readNoted(source, query, { beforeSeq }, limit);
  const data: Notice[] = [];
  let characters = 0;
  for (const [index, one] of page.noted.entries()) {
    const notice = await writeNotice(source, one);
    data.push(notice);
    characters += JSON.stringify(notice).length;
    if (characters > charactersMax && index < page.noted.length - 1) return { data, nextSeq: one.seq };
  }
  return { data, nextSeq: page.isEnd ? undefined : page.lastSeq };
}

/** The notice of an entry, with its run as it stands now. */
export async function writeNotice(source: NoticeSource, one: Noted): Promise<Notice> {
  const { entry, run } = one;
  switch (entry.type) {
    case 'threshold':
      return noticeOf(one, thresholdData(entry, run, await source.budgetName(entry.budgetId)));
    case 'decision':
      return noticeOf(one, refusedData(entry, run));
    case 'run': {
      const budgets = run === undefined ? [] : await source.budgetStates(run);
      const whole = run === undefined ? undefined : await readWhole(source, run);
      if (whole !== undefined) {
        const notice = noticeOf(one, endedData(whole, budgets, false));
        if (JSON.stringify(notice).length <= NOTICE_CHARACTERS_MAX) return notice;
      }
      return noticeOf(one, endedData(run === undefined ? undefined : withoutLists(run), budgets, true));
    }
  }
}

/** Undefined when the run is too long to be told whole. */
async function readWhole(source: NoticeSource, { workspaceId, runId }: RunRow): Promise<RunShape | undefined> {
  const entries: Sequenced[] = [];
  for (;;) {
    const page = await source.entries({ workspaceId, runId, order: 'asc', afterSeq: entries.at(-1)?.seq, limit: 1_000 });
    entries.push(...page);
    if (entries.length > RUN_ENTRIES_MAX) return undefined;
    if (page.length < 1_000) return foldRun(entries, { budgets: [] });
  }
}

function withoutLists(run: RunRow): RunShape {
  return { ...summarizeRun(run), steps: [], requests: [], tools: [], decisions: [], budgets: [] };
}
