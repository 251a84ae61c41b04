import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { peerEnvironment } from './interop/peers.js';
import { root } from './project.js';
import { waitFor, within } from './wait.js';

/** One line of a child's output: an object with the name of an event. */
export interface ChildEvent {
  readonly event: string;
  readonly [field: string]: unknown;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** In `Date.now()` of this process. */
  readonly at: number;
}

export interface ChildOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** Called with each line of its standard output. Lines for which it returns true are not kept. */
  readonly onLine?: (line: string) => boolean;
}

const DRAIN_MS = 2000;
/** A process may have to load the addon, or Python its wheel, on a loaded machine. */
const START_MS = 120_000;

const running = new Set<ChildProcess>();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

/** A process that a test started. Commands and events are lines of JSON. All other output is kept. */
export class Child {
  readonly events: ChildEvent[] = [];
  /** Standard output without the events, and standard error. */
  output = '';
  readonly exited: Promise<Exit>;
  readonly #child: ChildProcess;
  readonly #name: string;
  #exit: Exit | undefined;
  #taken = new Set<ChildEvent>();

  private constructor(child: ChildProcess, name: string, onLine?: (line: string) => boolean) {
    this.#child = child;
    this.#name = name;
    running.add(child);
    const lines = createInterface({ input: child.stdout! });
    lines.on('line', (line) => {
      if (onLine?.(line) === true) return;
      const event = line.startsWith('{"event":') ? (JSON.parse(line) as ChildEvent) : undefined;
      if (event === undefined) this.#print(`${line}\n`);
      else this.events.push(event);
    });
    child.stderr!.setEncoding('utf8').on('data', (chunk: string) => this.#print(chunk));
    child.stdin!.on('error', () => {});
    this.exited = new Promise((resolve) => {
      child.on('error', (error) => this.#print(String(error)));
      child.on('exit', (code, signal) => {
        running.delete(child);
        const exit = { code, signal, at: Date.now() };
        // Output may still arrive after the exit, or never end if a grandchild keeps the pipe open.
        const done = (): void => {
          clearTimeout(timer);
          this.#exit = exit;
          resolve(exit);
        };
        const timer = setTimeout(done, DRAIN_MS);
        child.on('close', done);
      });
    });
  }

  static start(command: string, args: readonly string[], options: ChildOptions = {}): Child {
    const name = [command, ...args].map((part) => part.replace(root, '')).join(' ');
    const child = spawn(command, args, {
      cwd: options.cwd ?? root,
      env: { ...process.env, ...options.env },
      stdio: 'pipe',
    });
    return new Child(child, name, options.onLine);
  }

  /** A TypeScript program, by its path from the root of the repository. */
  static program(path: string, args: readonly string[] = [], options: ChildOptions = {}): Child {
    return Child.start(process.execPath, ['--import', 'tsx', join(root, path), ...args], options);
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  get isRunning(): boolean {
    return this.#exit === undefined;
  }

  send(command: object): void {
    this.#child.stdin!.write(`${JSON.stringify(command)}\n`);
  }

  /** Writes text to standard input; `end` closes it afterwards. */
  write(text: string, end = false): void {
    this.#child.stdin!.write(text);
    if (end) this.#child.stdin!.end();
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** The next event with this name and these fields that was not returned before. */
  async event(name: string, fields: Readonly<Record<string, unknown>> = {}, timeoutMs = START_MS): Promise<ChildEvent> {
    const wanted = Object.entries({ event: name, ...fields });
    const find = (): ChildEvent | undefined =>
      this.events.find((one) => !this.#taken.has(one) && wanted.every(([key, value]) => one[key] === value));
    await waitFor(
      `${this.#name}: the event ${name}`,
      () => ({ found: find(), exit: this.#exit, events: this.events.slice(-20), output: this.output }),
      ({ found, exit }) => found !== undefined || exit !== undefined,
      timeoutMs,
    );
    const event = find();
    if (event === undefined)
      throw new Error(`${this.#name} ended before its event ${name}: ${JSON.stringify(this.#exit)}\n${this.output}`);
    this.#taken.add(event);
    return event;
  }

  async exit(timeoutMs = START_MS): Promise<Exit> {
    return within(timeoutMs, `${this.#name}: its exit`, this.exited, () => ({
      events: this.events.slice(-20),
      output: this.output,
    }));
  }

  /** Kills the process if it still runs. */
  async stop(): Promise<void> {
    if (this.isRunning) this.kill('SIGKILL');
    await this.exited;
  }

  #print(text: string): void {
    this.output = (this.output + text).slice(-20_000);
  }
}

/** A Python program of `test/interop/peers`, in the deployment of a file discovery folder. */
export function pythonPeer(name: string, args: readonly string[], folder: string, env: NodeJS.ProcessEnv = {}): Child {
  const program = join(root, 'test/interop/peers', name);
  return Child.start(join(root, '.peers/bin/python'), [program, ...args], {
    env: { ...peerEnvironment(folder), PYTHONUNBUFFERED: '1', DYN_LOG: 'error', ...env },
  });
}
