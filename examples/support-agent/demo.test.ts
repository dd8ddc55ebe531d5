import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from '@jest/globals';

const DEMO_MS = 60_000;
let sections: readonly string[];

beforeAll(async () => {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--conditions=runpurse-source', '--no-warnings', join(import.meta.dirname, 'demo.ts')],
    { timeout: DEMO_MS },
  );
  sections = stdout.split(/^\d\. .*\n/m);
}, DEMO_MS);

describe('npm run demo', () => {
  it("prints the article's run: four requests, two tools, one retry, and its three disjoint lines", () => {
    expect(sections[1]?.trim()).toBe(
      [
        'support_agent.run_1827',
        '-> llm.request $0.012',
        '-> tool.call customer_lookup',
        '-> llm.request $0.018',
        '-> tool.call refund_policy_check',
        '-> llm.request $0.025',
        '-> retry failed tool response',
        '-> llm.request $0.031',
        '-> run.completed',
        'total run cost: $0.086',
        '  model $0.055   tool $0   retry $0.031',
      ].join('\n'),
    );
  });

  it("prints the article's session of five runs and what is lost with it", () => {
    expect(
      sections[2]
        ?.trim()
        .split(/\n/)
        .map((line) => line.replace(/ {2,}/g, ' ')),
    ).toEqual([
      'session: customer_492_support_session',
      'run 1 classify issue $0.018',
      'run 2 search knowledge base $0.034',
      'run 3 draft response $0.041',
      'run 4 retry escalation $0.067',
      'run 5 summarize outcome $0.022',
      'session cost: $0.182',
      'sold for: $0.10',
      'known margin: -$0.082 (-82.0 %)',
    ]);
  });

  it('prints a run that is stopped before the call that would pass its cap, and the refusal it got', () => {
    const [trace = '', refusal = ''] = sections[3]?.split('the next call was refused before it was made:') ?? [];
    expect(trace.match(/-> llm\.request \$0\.025/g)).toHaveLength(3);
    expect(trace).toContain('-> llm.request refused\n-> run.failed\ntotal run cost: $0.075');
    expect(trace).toContain('cap of the run: $0.10');
    expect(refusal).toMatch(/402 budget_exceeded: .*cap-per-run.*run_1828/s);
  });
});
