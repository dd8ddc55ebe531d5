import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';

/** Proxies run on one core, load and mock on another, so that neither takes the other's time. */
export const PROXY_CORE = 0;
export const LOAD_CORE = 1;

const CLOCK_TICKS_PER_SECOND = 100;

/** True where processes can be pinned; without it figures are worth little and the report says so. */
export const canPin = availableParallelism() >= 2 && ['/usr/bin/taskset', '/bin/taskset'].some((path) => existsSync(path));

/** Starts Node with `args` on a core. Killed with this process at the latest. */
export function startNode(
  core: number,
  args: readonly string[],
  options: { env?: Record<string, string>; ipc?: boolean } = {},
): ChildProcess {
  const [command, ...rest] = [...(canPin ? ['taskset', '-c', String(core)] : []), process.execPath, ...args];
  const child = spawn(command ?? process.execPath, rest, {
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe', ...(options.ipc === true ? (['ipc'] as const) : [])],
  });
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  child.once('exit', () => process.off('exit', kill));
  return child;
}

/** What a process printed that matches, or an error that shows all of it. */
export async function untilPrinted(child: ChildProcess, pattern: RegExp, seconds = 30): Promise<RegExpExecArray> {
  let output = '';
  return new Promise((resolve, reject) => {
    const give = (reason: string) => reject(new Error(`${child.spawnargs.join(' ')} ${reason}:\n${output}`));
    const timer = setTimeout(() => give('did not get ready'), seconds * 1000);
    const look = (chunk: Buffer) => {
      output += chunk.toString();
      const match = pattern.exec(output);
      if (match === null) return;
      clearTimeout(timer);
      resolve(match);
    };
    child.stdout?.on('data', look);
    child.stderr?.on('data', look);
    child.once('exit', (code) => {
      clearTimeout(timer);
      give(`ended with ${code}`);
    });
  });
}

export async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
  await exited;
  clearTimeout(timer);
}

/** User and system time of a process over all its threads, in microseconds. */
export function cpuMicros(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return ((Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS_PER_SECOND) * 1e6;
}

export function residentMegabytes(pid: number): number {
  const match = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(match?.[1] ?? 0) / 1024;
}

/** Threads with a name of their own, to see that a writer thread is counted. */
export function threads(pid: number): number {
  return readdirSync(`/proc/${pid}/task`).length;
}
