import { type ChildProcess as NodeChildProcess, type Serializable, spawn } from 'node:child_process';
import { extname } from 'node:path';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';

/** A program and its arguments. */
export type CommandLine = readonly [program: string, ...args: readonly string[]];

/** How a child process runs. */
export interface ChildProcessOptions {
  /** Added to the environment of this process. */
  readonly env?: Readonly<Record<string, string>>;
  /** @default the working directory of this process */
  readonly cwd?: string;
  /** Written to the standard input, which is then closed. @default nothing */
  readonly input?: string;
  /** Kills the process after this many milliseconds. @default no limit */
  readonly timeoutMs?: number;
  /** Kills the process. */
  readonly signal?: AbortSignal | undefined;
  /** Called with each line of the standard output. */
  readonly onLine?: (line: string) => void;
  /** Called with each message that a Node.js program sends with `process.send`. Opens an IPC channel. */
  readonly onMessage?: (message: unknown) => void;
}

/** How a child process ended. */
export interface ChildProcessEnd {
  /** The exit code. Null if a signal ended the process. */
  readonly code: number | null;
  /** The signal that ended the process. Null if it exited. */
  readonly signal: NodeJS.Signals | null;
  /** True if `timeoutMs` ended the process. */
  readonly timedOut: boolean;
  /** The end of the standard error. */
  readonly errorText: string;
}

const ERROR_TEXT_CHARACTERS = 4096;

/** A program that this process has started. */
export class ChildProcess {
  /** Resolves when the process has ended and its output is read. Rejects if it cannot be started. */
  readonly ended: Promise<ChildProcessEnd>;
  readonly #child: NodeChildProcess;
  #timedOut = false;
  #errorText = '';

  private constructor(child: NodeChildProcess, options: ChildProcessOptions) {
    this.#child = child;
    this.ended = this.#run(options);
    this.ended.catch(() => {});
  }

  static start([program, ...args]: CommandLine, options: ChildProcessOptions = {}): ChildProcess {
    const child = spawn(program, args, {
      env: { ...process.env, ...options.env },
      cwd: options.cwd,
      stdio: options.onMessage === undefined ? 'pipe' : ['pipe', 'pipe', 'pipe', 'ipc'],
    });
    return new ChildProcess(child, options);
  }

  /** Undefined if the process could not be started. */
  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Sends a message to a Node.js program that was started with `onMessage`. Dropped if the program has ended. */
  send(message: Serializable): void {
    if (this.#child.connected) this.#child.send(message, () => {});
  }

  kill(signal: NodeJS.Signals = 'SIGKILL'): void {
    this.#child.kill(signal);
  }

  /** Asks the process to end with SIGTERM, and kills it after `graceMs`. Resolves when it has ended. */
  async stop(graceMs: number): Promise<ChildProcessEnd> {
    this.kill('SIGTERM');
    const timer = setTimeout(() => this.kill(), graceMs);
    try {
      return await this.ended;
    } finally {
      clearTimeout(timer);
    }
  }

  async #run({ input, timeoutMs, signal, onLine, onMessage }: ChildProcessOptions): Promise<ChildProcessEnd> {
    const child = this.#child;
    const onAbort = (): void => this.kill();
    const onTimeout = (): void => {
      this.#timedOut = true;
      this.kill();
    };
    const timer = timeoutMs === undefined ? undefined : setTimeout(onTimeout, timeoutMs);
    if (signal?.aborted === true) onAbort();
    signal?.addEventListener('abort', onAbort, { once: true });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#errorText = (this.#errorText + text).slice(-ERROR_TEXT_CHARACTERS);
    });
    if (onMessage !== undefined) child.on('message', onMessage);
    // The process may end before it has read its input.
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
    readLines(child.stdout, onLine);
    try {
      const [code, killedBy] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
        child.on('error', reject);
        child.on('close', (code, killedBy) => resolve([code, killedBy]));
      });
      return { code, signal: killedBy, timedOut: this.#timedOut, errorText: this.#errorText.trim() };
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    }
  }
}

/** Splits text at newlines only: JSON may contain the other line separators. */
function readLines(stream: Readable | null, onLine: (line: string) => void = () => {}): void {
  let rest = '';
  stream
    ?.setEncoding('utf8')
    .on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() as string;
      for (const line of lines) onLine(line);
    })
    .on('end', () => {
      if (rest !== '') onLine(rest);
    });
}

/**
 * The command for a Node.js program beside a module: the module's `import.meta.url`, and the program's name without
 * suffix.
 */
export function programBeside(module: string, name: string): CommandLine {
  const suffix = extname(fileURLToPath(module));
  const script = fileURLToPath(new URL(`./${name}${suffix}`, module));
  const loader = suffix === '.ts' ? ['--import', 'tsx'] : [];
  return [process.execPath, ...loader, script];
}
