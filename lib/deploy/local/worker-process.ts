import { type ChildProcess, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import type { WorkerEvent } from './worker-state.js';

/** The process of one worker. */
export interface WorkerProcess {
  readonly pid: number | undefined;
  /** Lets it serve: what it depends on is ready. */
  release(): void;
  /** Asks it to complete its requests and to end. */
  drain(timeoutMs: number, lingerMs: number): void;
  /** Asks for its metrics. A program of Python has none here. */
  measure(): void;
  /** Asks for what its engine did for a request. A program of Python does not know it. */
  recall(requestId: string): void;
  /** Ends it and its process group at once. */
  kill(): void;
}

/** How a process is started. */
export interface ProcessOptions {
  readonly command: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** Whether it has an IPC channel. */
  readonly hasChannel: boolean;
  readonly onEvent: (event: WorkerEvent) => void;
  readonly onMessage?: (message: unknown) => void;
  readonly onOutput: (stream: Readable) => void;
}

/**
 * Starts a process in its own session, so that Ctrl-C reaches only the supervisor. Its standard input stays open
 * until the supervisor ends. Call it on the main thread: the death signal follows the thread that started the process.
 */
export function startProcess(options: ProcessOptions): ChildProcess {
  const [program, ...args] = options.command;
  const child = spawn(program as string, args, {
    env: options.env,
    stdio: options.hasChannel ? ['pipe', 'pipe', 'pipe', 'ipc'] : ['pipe', 'pipe', 'pipe'],
    detached: true,
  });
  child.stdin?.on('error', () => {});
  for (const stream of [child.stdout, child.stderr]) if (stream !== null) options.onOutput(stream);
  if (options.hasChannel) child.on('message', (message) => options.onMessage?.(message));
  child.on('error', (error) => {
    if (child.pid !== undefined) return;
    options.onEvent({ type: 'failed', message: `${program} cannot be started: ${error.message}` });
    options.onEvent({ type: 'exited', exit: { code: 127, signal: null } });
  });
  child.on('exit', (code, signal) => {
    // What it has started and left behind.
    killGroup(child);
    options.onEvent({ type: 'exited', exit: { code, signal } });
  });
  return child;
}

/** Ends the process group of a process. Its leader may be gone. */
export function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // The group is empty.
  }
}
