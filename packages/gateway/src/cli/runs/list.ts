import { Command, Option } from 'commander';
import { RUN_STATUSES } from '@runpurse/core';
import { summarizeRun } from '../../views/index.ts';
import { withViews, workspaceOf } from '../data-directory.ts';
import { dataOption, idText, jsonOption, wholeNumber, workspaceOption } from '../options.ts';
import { table, terminalOutput } from '../output.ts';
import { signed } from '../run-text.ts';

interface ListOptions {
  readonly data: string;
  readonly workspace?: string;
  readonly session?: string;
  readonly agent?: string;
  readonly status?: string;
  readonly limit: number;
  readonly json?: boolean;
}

export function listRunsCommand(): Command {
  return new Command('list')
    .description('runs of a workspace, newest first')
    .addOption(dataOption())
    .addOption(workspaceOption())
    .addOption(new Option('--session <id>').argParser(idText))
    .addOption(new Option('--agent <id>').argParser(idText))
    .addOption(new Option('--status <status>').choices(RUN_STATUSES))
    .addOption(new Option('--limit <count>', 'how many').default(20).argParser(wholeNumber(1, 1000)))
    .addOption(jsonOption())
    .action((options: ListOptions) => listRuns(options));
}

async function listRuns(options: ListOptions): Promise<void> {
  const output = terminalOutput();
  const runs = await withViews(options.data, async (admin) => {
    const page = await admin.runs({
      workspaceId: workspaceOf(admin, options.workspace),
      sessionId: options.session,
      agentId: options.agent,
      status: options.status,
      limit: options.limit,
    });
    return page.rows.map((row) => summarizeRun(row));
  });
  if (options.json === true) {
    output.json({ data: runs });
    return;
  }
  const rows = runs.map((run) => [
    run.run_id,
    run.agent_id ?? '-',
    run.session_id ?? '-',
    run.status,
    String(run.counts.requests),
    String(run.counts.tool_calls),
    `$${run.cost.total_usd}`,
    run.margin.known_usd === null ? '-' : signed(run.margin.known_usd),
    run.started_at,
  ]);
  output.line(table([['RUN', 'AGENT', 'SESSION', 'STATUS', 'CALLS', 'TOOLS', 'COST', 'MARGIN', 'STARTED'], ...rows]));
}
