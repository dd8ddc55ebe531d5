import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AdapterHarness, PlayOutcome } from '@runpurse/conformance';
import { PYTHON } from './environment.ts';
import { PythonHost } from './python-host.ts';

const version = /^crewai(?:\[[\w,]+\])?==(\S+)$/m.exec(readFileSync(join(PYTHON, 'requirements.in'), 'utf8'))?.[1] ?? 'unknown';

let host: PythonHost | undefined;

/** Starts the Python process that plays; a play starts it too, and waits for it. */
export function startPython(): Promise<void> {
  host ??= new PythonHost();
  return host.ready();
}

/** Plays the conformance scenarios with real CrewAI crews in a Python process, attached as the README says. */
export const harness: AdapterHarness = {
  name: 'crewai',
  framework: { name: 'CrewAI', version },
  modes: ['carried', 'direct'],
  exceptions: {},
  async play(scenario, env) {
    host ??= new PythonHost();
    const { runTool, signal, ...plain } = env;
    return (await host.call('play', { scenario, env: plain }, { runTool, signal })) as PlayOutcome;
  },
};
