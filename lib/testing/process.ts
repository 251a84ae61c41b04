import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { checkArray, checkString, wrongType } from '../check.js';
import { findGraph } from '../deploy/load-graph.js';
import { callback, custom, type OptionTable, optionTable, stringMap } from '../options.js';
import { removeAtExit } from './leftovers.js';
import { waitFor, within } from './wait.js';

/** How a process of a test ended. */
export interface ProcessEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** How a process is started. */
export interface TestProcessOptions {
  /** Variables besides those of this process. */
  readonly env?: Readonly<Record<string, string>>;
  /** @default the folder of this process */
  readonly cwd?: string;
  /** Called with each line of its standard output. */
  readonly onLine?: (line: string) => void;
}

const OPTIONS: OptionTable<TestProcessOptions> = optionTable<TestProcessOptions>({
  env: stringMap.about('Variables besides those of this process.'),
  cwd: custom<string>('a folder', (path, value) => {
    checkString(path, value);
    if (!statSync(value, { throwIfNoEntry: false })?.isDirectory()) wrongType(path, 'a folder that is there', value);
  }).about('Its working directory.'),
  onLine: callback<(line: string) => void>().about('Called with each line of its standard output.'),
});

/** A process may have to load the addon on a loaded machine. */
const START_MS = 120_000;
const DRAIN_MS = 30_000;
/** How long the output may arrive after the exit. It never ends if a process outside of the group holds the pipe. */
const LAST_OUTPUT_MS = 2000;
const MAX_OUTPUT_CHARACTERS = 64 * 1024;
const MAX_LINES = 10_000;

let deathSignal: readonly string[] | undefined;

/** The words that end a process when this one is killed, if the machine has them. */
function untilDeath(): readonly string[] {
  const words = ['setpriv', '--pdeathsig', 'KILL'] as const;
  deathSignal ??= spawnSync(words[0], [...words.slice(1), 'true']).status === 0 ? words : [];
  return deathSignal;
}

/**
 * A process that a test started, with the processes that it starts. It ends with the test process, however that ends.
 * Its output is kept for the errors of the functions that wait.
 */
export class TestProcess implements AsyncDisposable {
  /** Settles at its end, with all its output. */
  readonly ended: Promise<ProcessEnd>;
  /** The last 65536 characters of its standard output and its standard error. */
  output = '';
  readonly #child: ChildProcess;
  readonly #name: string;
  readonly #lines: string[] = [];
  #taken = 0;
  #end: ProcessEnd | undefined;

  private constructor(child: ChildProcess, name: string, onLine: ((line: string) => void) | undefined) {
    this.#child = child;
    this.#name = name;
    const forget = removeAtExit(() => this.kill());
    if (child.stdout !== null)
      createInterface({ input: child.stdout }).on('line', (line) => {
        this.#print(`${line}\n`);
        if (this.#lines.push(line) > MAX_LINES) {
          this.#lines.shift();
          this.#taken = Math.max(0, this.#taken - 1);
        }
        onLine?.(line);
      });
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => this.#print(chunk));
    child.stdin?.on('error', () => {});
    this.ended = new Promise((resolve) => {
      const done = (code: number | null, signal: NodeJS.Signals | null): void => {
        this.#end ??= { code, signal };
        resolve(this.#end);
      };
      child.on('error', (error) => {
        this.#print(`${error.message}\n`);
        forget();
        if (child.pid === undefined) done(127, null);
      });
      child.on('exit', (code, signal) => {
        // What it has started and left.
        this.kill();
        forget();
        const timer = setTimeout(done, LAST_OUTPUT_MS, code, signal);
        child.on('close', () => {
          clearTimeout(timer);
          done(code, signal);
        });
      });
    });
  }

  /**
   * Starts a command.
   *
   * @throws TypeError for a wrong argument or option
   */
  static start(command: string, args: readonly string[] = [], options: TestProcessOptions = {}): TestProcess {
    checkString('TestProcess.start command', command);
    checkArray('TestProcess.start args', args, 'strings');
    args.forEach((arg, index) => checkString(`TestProcess.start args[${index}]`, arg));
    OPTIONS.check('TestProcess.start options', options);
    const { env = {}, cwd, onLine } = options;
    const [program, ...words] = [...untilDeath(), command, ...args];
    const child = spawn(program as string, words, {
      env: { ...process.env, ...env },
      stdio: 'pipe',
      detached: true,
      ...(cwd === undefined ? {} : { cwd }),
    });
    return new TestProcess(child, [command, ...args].join(' '), onLine);
  }

  /**
   * Starts a program of JavaScript, or of TypeScript through tsx.
   *
   * @param file its path; a relative one is below `options.cwd`
   * @throws DeployError if the file, or tsx for TypeScript, is missing
   */
  static program(file: string, args: readonly string[] = [], options: TestProcessOptions = {}): TestProcess {
    OPTIONS.check('TestProcess.program options', options);
    const { loader } = findGraph(file, options.cwd ?? process.cwd());
    const words = loader === undefined ? [] : ['--import', loader];
    return TestProcess.start(process.execPath, [...words, file, ...args], options);
  }

  /** Undefined if it could not be started. */
  get pid(): number | undefined {
    return this.#child.pid;
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null && this.#end === undefined;
  }

  /** Writes to its standard input. */
  write(input: string): void {
    this.#child.stdin?.write(input);
  }

  /**
   * The next line of its standard output that matches and was not returned before.
   *
   * @param timeoutMs @default 120000
   * @throws Error with its output if it ends first, or after `timeoutMs`
   */
  async line(pattern: RegExp | string, timeoutMs = START_MS): Promise<string> {
    const find = (): number =>
      this.#lines.findIndex(
        (line, index) =>
          index >= this.#taken && (typeof pattern === 'string' ? line.includes(pattern) : line.search(pattern) !== -1),
      );
    await waitFor(
      `${this.#name}: a line ${pattern}`,
      () => ({ found: find(), end: this.#end, output: this.output }),
      ({ found, end }) => found !== -1 || end !== undefined,
      timeoutMs,
    );
    const found = find();
    if (found === -1) throw new Error(`${this.#name} ended before a line ${pattern}: ${this.output}`);
    this.#taken = found + 1;
    return this.#lines[found] as string;
  }

  /** Sends a signal to it alone. */
  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Ends it and what it started at once, as a lost machine would. */
  kill(): void {
    this.#group('SIGKILL');
  }

  /**
   * Stops it and what it started: connections stay open and nothing answers, until `resume`. Its threads stop within
   * some milliseconds.
   */
  pause(): void {
    this.#group('SIGSTOP');
  }

  /** Ends a `pause`. */
  resume(): void {
    this.#group('SIGCONT');
  }

  /**
   * Asks it to complete its requests and to end, with SIGTERM.
   *
   * @param timeoutMs @default 30000
   * @throws Error with its output if it has not ended after `timeoutMs`
   */
  drain(timeoutMs = DRAIN_MS): Promise<ProcessEnd> {
    this.signal('SIGTERM');
    return this.exit(timeoutMs);
  }

  /**
   * Waits for its end.
   *
   * @param timeoutMs @default 120000
   * @throws Error with its output after `timeoutMs`
   */
  exit(timeoutMs = START_MS): Promise<ProcessEnd> {
    return within(timeoutMs, `${this.#name}: its exit`, this.ended, () => this.output);
  }

  /** Kills it if it still runs, and waits for its end. Idempotent. */
  async close(): Promise<void> {
    this.kill();
    await this.ended;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #group(signal: NodeJS.Signals): void {
    if (this.pid === undefined) return;
    try {
      process.kill(-this.pid, signal);
    } catch {
      // The group is empty.
    }
  }

  #print(text: string): void {
    this.output = (this.output + text).slice(-MAX_OUTPUT_CHARACTERS);
  }
}
