import { readdirSync, readFileSync } from 'node:fs';

/** The kernel's unit of processor time in `/proc/PID/task/TID/stat`. */
const TICK_MS = 10;

/** Resident memory now and at its peak, in MiB. */
export interface Memory {
  readonly rssMiB: number;
  readonly peakMiB: number;
}

export function memoryOf(pid: number): Memory {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const field = (name: string): number =>
    Math.round(Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0) / 1024);
  return { rssMiB: field('VmRSS'), peakMiB: field('VmHWM') };
}

/** Processor time in milliseconds: of the thread that runs JavaScript or Python, and of all other threads. */
export interface CpuTime {
  readonly mainMs: number;
  readonly otherMs: number;
}

export function cpuOf(pid: number): CpuTime {
  const time = { mainMs: 0, otherMs: 0 };
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const [user, system] = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8')
      .replace(/^.*\) /, '')
      .split(' ')
      .slice(11, 13);
    time[Number(thread) === pid ? 'mainMs' : 'otherMs'] += (Number(user) + Number(system)) * TICK_MS;
  }
  return time;
}

/** Processor time in milliseconds from the scheduler's statistics, which also count runs shorter than a tick. */
export function busyMsOf(pid: number): number {
  return readdirSync(`/proc/${pid}/task`).reduce(
    (sum, thread) => sum + Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]) / 1e6,
    0,
  );
}
