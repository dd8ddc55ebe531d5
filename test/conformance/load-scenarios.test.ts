import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { loadScenarios } from './load-scenarios.ts';
import type { ScenarioAgent } from './scenario.ts';

describe('the scenarios', () => {
  it.each(loadScenarios())(
    '$name holds together: its secrets are on stage, its script is played out, its tools are defined',
    (scenario) => {
      const stage = JSON.stringify([scenario.task, scenario.agent, scenario.model_script]);
      for (const secret of scenario.secrets) expect(stage).toContain(secret);
      expect(scenario.expected.model_calls).toBeLessThanOrEqual(scenario.model_script.length);
      const tools = toolNames(scenario.agent);
      for (const { name } of scenario.model_script.flatMap(({ tool_calls }) => tool_calls ?? [])) expect(tools).toContain(name);
      for (const name of scenario.expected.tools_run) expect(tools).toContain(name);
    },
  );

  it('state the run they expect, unless the gateway is away or only leaks are looked for', () => {
    const without = loadScenarios().filter(({ expected }) => expected.run === undefined);
    expect(without.map(({ name }) => name)).toEqual(['gateway-lost-closed', 'gateway-lost-open', 'secret']);
  });
});

describe('a scenario file', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'runpurse-scenarios-'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  const [plain] = loadScenarios().filter(({ name }) => name === 'plain-run');

  it('with a misspelt key is refused by name', async () => {
    await writeFile(join(folder, 'plain-run.json'), JSON.stringify({ ...plain, modell_script: [] }));
    expect(() => loadScenarios(folder)).toThrow(/plain-run\.json is not a scenario.*modell_script/s);
  });

  it('that calls itself otherwise is refused', async () => {
    await writeFile(join(folder, 'other.json'), JSON.stringify(plain));
    expect(() => loadScenarios(folder)).toThrow('other.json calls itself plain-run');
  });
});

function toolNames(agent: ScenarioAgent): readonly string[] {
  return agent.tools.flatMap(({ name, agent: behind }) => [name, ...(behind === undefined ? [] : toolNames(behind))]);
}
