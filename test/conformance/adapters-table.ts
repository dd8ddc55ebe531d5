import { join } from 'node:path';
import { MODES, type AdapterHarness, type Mode } from './harness.ts';
import type { Scenario } from './scenario.ts';

const ROOT = join(import.meta.dirname, '..', '..');
/** The documents that show what the adapters can do, and how much of it. */
export const TABLE_DOCUMENTS: readonly { readonly path: string; readonly table: typeof adaptersTable }[] = [
  { path: join(ROOT, 'README.md'), table: adaptersSummary },
  { path: join(ROOT, 'docs', 'adapters.md'), table: adaptersTable },
];

/** Where the generated part of a document begins and ends. */
const BEGIN = '<!-- adapters: written by `npm run conformance -- --write`, checked by a test -->';
const END = '<!-- /adapters -->';

/**
 * The adapters' table as Markdown: adapter × scenario. `✓`: passes; a number: an exception with that note; `·`: none of
 * the adapter's modes plays it. It says what the suite demands of each adapter; that they really pass is the suite's test.
 */
export function adaptersTable(harnesses: readonly AdapterHarness[], scenarios: readonly Scenario[]): string {
  const notes: string[] = [];
  const cell = (harness: AdapterHarness, scenario: Scenario): string => {
    const modes = scenario.modes.filter((mode) => harness.modes.includes(mode));
    if (modes.length === 0) return '·';
    const excepted = modes.map((mode) => ({
      mode,
      reason: harness.exceptions[`${scenario.name}/${mode}`] ?? harness.exceptions[scenario.name],
    }));
    const reasons = new Set(
      excepted.flatMap(({ mode, reason }) =>
        reason === undefined
          ? []
          : [
              `${harness.name}, ${scenario.name}${modes.length > 1 && excepted.some((other) => other.reason === undefined) ? ` (${mode})` : ''}: ${reason}`,
            ],
      ),
    );
    return reasons.size === 0 ? '✓' : [...reasons].map((reason) => `${notes.push(reason)}`).join(', ');
  };
  const header = ['', ...harnesses.map(({ name, framework }) => `${name} <br> ${framework.name} ${framework.version}`)];
  const rows = scenarios.map((scenario) => [scenario.title, ...harnesses.map((harness) => cell(harness, scenario))]);
  return [...aligned([header, ...rows]), ...(notes.length === 0 ? [] : ['', ...notes.map((note, index) => `${index + 1}. ${note}`)])].join(
    '\n',
  );
}

/** The adapters as Markdown, one row each: how many of a mode's scenarios it plays without an exception; `·`: it has no such mode. */
export function adaptersSummary(harnesses: readonly AdapterHarness[], scenarios: readonly Scenario[]): string {
  const played = (harness: AdapterHarness, mode: Mode): string => {
    if (!harness.modes.includes(mode)) return '·';
    const asked = scenarios.filter((scenario) => scenario.modes.includes(mode));
    const passed = asked.filter(
      ({ name }) => harness.exceptions[`${name}/${mode}`] === undefined && harness.exceptions[name] === undefined,
    );
    return `${passed.length} of ${asked.length}`;
  };
  const folder = (name: string): string => (name === 'toy' ? 'test/conformance/toy' : `packages/adapters/${name}`);
  return aligned([
    ['adapter', 'played by', ...MODES],
    ...harnesses.map((harness) => [
      `[${harness.name}](${folder(harness.name)})`,
      `${harness.framework.name} ${harness.framework.version}`,
      ...MODES.map((mode) => played(harness, mode)),
    ]),
  ]).join('\n');
}

/** Rows of a Markdown table, the first of them its header, with columns of one width: as the formatter leaves them. */
function aligned(rows: readonly (readonly string[])[]): readonly string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(3, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[]): string => `| ${cells.map((text, column) => text.padEnd(widths[column] ?? 0)).join(' | ')} |`;
  const [header = [], ...body] = rows;
  return [line(header), line(widths.map((width) => '-'.repeat(width))), ...body.map(line)];
}

/** The document with its generated part replaced. */
export function withTable(document: string, table: string): string {
  const begin = document.indexOf(BEGIN);
  const end = document.indexOf(END);
  if (begin === -1 || end === -1) throw new Error(`the document has no part between ${BEGIN} and ${END}`);
  return `${document.slice(0, begin)}${BEGIN}\n\n${table}\n\n${document.slice(end)}`;
}
