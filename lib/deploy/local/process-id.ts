import { readFileSync, readlinkSync } from 'node:fs';

/** Fields of /proc/PID/stat, counted after the name, which may contain spaces. */
const [STATE, START_TIME] = [0, 19];
/** A process that has ended, and that its parent has not asked for yet. */
const ENDED = ['Z', 'X'];

/** A process that can be found again: its id may be used by another one later. */
export interface ProcessId {
  /** As other processes of this machine see it, also if this one is in a namespace. */
  readonly pid: number;
  /** In clock ticks since the start of the machine; empty if the system does not say it. */
  readonly startTime: string;
}

/** Undefined if the process does not run. */
function startTimeOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return ENDED.includes(fields[STATE] as string) ? undefined : fields[START_TIME];
  } catch {
    return undefined;
  }
}

/** The id of this process outside of its PID namespace. */
export function ownProcessId(): ProcessId {
  let { pid } = process;
  try {
    pid = Number(readlinkSync('/proc/self'));
  } catch {
    // Not Linux: there are no namespaces.
  }
  return { pid, startTime: startTimeOf(pid) ?? '' };
}

/** Whether a process still runs. */
export function isRunning({ pid, startTime }: ProcessId): boolean {
  if (startTime !== '') return startTimeOf(pid) === startTime;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** The id of a child of this process outside of its PID namespace. */
export function outerPid(child: number): number {
  try {
    const children = readFileSync('/proc/thread-self/children', 'utf8').trim().split(' ');
    const isChild = (pid: string): boolean =>
      new RegExp(`^NSpid:.*\\t${child}$`, 'm').test(readFileSync(`/proc/${pid}/status`, 'utf8'));
    return Number(children.find(isChild) ?? child);
  } catch {
    return child;
  }
}
