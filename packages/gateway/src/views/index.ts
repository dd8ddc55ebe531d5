export { balanceOf, bookLines, type Account, type BookLine } from './double-entry.ts';
export { foldRun, type FoldRunOptions } from './fold-run.ts';
export { foldSession, sumFinance, type FoldSessionOptions } from './fold-session.ts';
export { costOf, marginNanos, marginOf, percentText, usdOrNull, type CostNanos, type FinanceNanos } from './money.ts';
export { summarizeRun } from './summarize-run.ts';
