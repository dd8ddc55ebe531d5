// `npm test`: everything that must hold before a change lands. Runs every step even after one failed, then sums up in the
// last line, `N passed, N failed`: each jest test counts as one, and so does each other step.
// `node scripts/test.mjs STEP …` runs only those steps.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const scratch = mkdtempSync(join(tmpdir(), 'runpurse-test-'));
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }));
const jestReport = join(scratch, 'jest.json');

const fromSource = ['--conditions=runpurse-source', '--no-warnings'];
const bin = (name) => join(root, 'node_modules', '.bin', name);

const steps = [
  { name: 'types', command: [bin('tsc'), '-p', 'tsconfig.json', '--noEmit'] },
  { name: 'lint', command: [bin('eslint'), '.'] },
  { name: 'layout', command: [bin('prettier'), '--check', '--log-level=warn', '.'] },
  // Made here, so that its time and what it lacks are seen by themselves; the tests find it made.
  { name: 'python', command: ['node', ...fromSource, 'packages/adapters/crewai/test/environment.ts'], seconds: 600 },
  {
    name: 'jest',
    command: [
      ...['node', '--experimental-vm-modules', '--no-warnings', 'node_modules/jest/bin/jest.js'],
      ...['--ci', '--json', `--outputFile=${jestReport}`],
    ],
    // jest prints its JSON on stdout too; what people read is on stderr.
    stdout: 'ignore',
    count: countJest,
    seconds: 2700, // twenty minutes on a slow host
  },
  { name: 'conformance', command: ['node', ...fromSource, 'test/conformance/main.ts'] },
  // The other examples are jest tests of their folders; the demo is run as `npm run demo` runs it.
  { name: 'demo', command: ['node', ...fromSource, 'examples/support-agent/demo.ts'], seconds: 300 },
];

/** A skipped test is a failed one: nothing here is optional. A suite that could not start counts as one failure. */
function countJest(code) {
  if (!existsSync(jestReport)) return { passed: 0, failed: 1 };
  const report = JSON.parse(readFileSync(jestReport, 'utf8'));
  const skipped = report.numPendingTests + report.numTodoTests;
  if (skipped > 0) process.stderr.write(`${skipped} tests were skipped, which counts as failed\n`);
  const failed = report.numFailedTests + report.numRuntimeErrorTestSuites + skipped;
  return { passed: report.numPassedTests, failed: code !== 0 && failed === 0 ? 1 : failed };
}

let running;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    running?.kill(signal);
    process.exitCode = 1;
    stopped = true;
  });
}
let stopped = false;

/** A step that hangs is a failed step. */
function run({ command: [command, ...args], stdout = 'inherit', seconds = 1800 }) {
  return new Promise((resolve) => {
    running = spawn(command, args, { cwd: root, stdio: ['ignore', stdout, 'inherit'], timeout: seconds * 1000 });
    running.on('error', (error) => {
      process.stderr.write(`${error.message}\n`);
      resolve(1);
    });
    running.on('exit', (code, signal) => {
      if (signal !== null) process.stderr.write(`ended by ${signal}\n`);
      resolve(code ?? 1);
    });
  });
}

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !steps.some((step) => step.name === name));
if (unknown.length > 0) {
  process.stderr.write(`No step ${unknown.join(', ')}. Steps: ${steps.map((step) => step.name).join(', ')}\n`);
  process.exit(2);
}

const total = { passed: 0, failed: 0 };
const lines = [];
for (const step of steps) {
  if (stopped || (wanted.length > 0 && !wanted.includes(step.name))) continue;
  process.stdout.write(`\n── ${step.name}\n`);
  const before = Date.now();
  const code = await run(step);
  const count = step.count?.(code) ?? (code === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 });
  total.passed += count.passed;
  total.failed += count.failed;
  const seconds = ((Date.now() - before) / 1000).toFixed(1);
  lines.push(`${count.failed === 0 ? 'ok    ' : 'FAILED'} ${step.name}: ${count.passed} passed, ${count.failed} failed (${seconds} s)`);
}
if (stopped) total.failed += 1;
process.stdout.write(`\n${lines.join('\n')}\n${total.passed} passed, ${total.failed} failed\n`);
process.exitCode = total.failed === 0 && total.passed > 0 ? 0 : 1;
