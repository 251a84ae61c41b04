import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));

const python = `${root}.peers/bin/python`;

/** Why the Python peers cannot run, or undefined where they can. */
export const pythonMissing = existsSync(python)
  ? undefined
  : 'no Python peers in .peers: run `npm test` or `npm run setup -- --test`';

/** A program beside the addon: Rust on the crates alone, of native/core/examples, or C++ on NIXL's library alone. */
type CompiledPeer = 'echo_peer' | 'index_peer' | 'nixl_peer';

/** Builds a compiled peer, in the folder and with the flags of the addon. */
export function buildPeer(peer: CompiledPeer): void {
  execFileSync('cmake', ['--build', `${root}build/cmake`, '--target', peer], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}

/** What the crates and the wheels read: everything on loopback, found through a folder. */
function environment(dir: string): NodeJS.ProcessEnv {
  return {
    ...process.env,
    NODE_OPTIONS: '',
    RUST_BACKTRACE: '0',
    DYN_DISCOVERY_BACKEND: 'file',
    DYN_FILE_KV: dir,
    DYN_REQUEST_PLANE: 'tcp',
    DYN_EVENT_PLANE: 'zmq',
    DYN_TCP_RPC_HOST: '127.0.0.1',
    DYN_TCP_RESPONSE_STREAM_HOST: '127.0.0.1',
    DYN_EVENT_PLANE_HOST: '127.0.0.1',
    DYN_LOG: 'error',
    DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS: '0',
  };
}

/** Of the kernel's clock that processor time is told in. */
const TICK_MS = 10;
const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 5_000;

/** A process of the bench: commands in and answers out are lines of JSON; it ends when its input does. */
export class Peer {
  readonly #child: ChildProcess;
  readonly #name: string;
  readonly #answers: Record<string, unknown>[] = [];
  readonly #ended: Promise<void>;
  #waiting: { resolve(answer: Record<string, unknown>): void; reject(error: Error): void } | undefined;
  #log = '';

  private constructor(name: string, command: string, args: readonly string[], dir: string) {
    this.#name = name;
    this.#child = spawn(command, args, { cwd: root, env: environment(dir), stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child.stdin?.on('error', () => {});
    this.#child.stderr?.on('data', (data: Buffer) => this.#note(data.toString()));
    createInterface({ input: this.#child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
      if (line.startsWith('{"bench":')) this.#answer((JSON.parse(line) as { bench: Record<string, unknown> }).bench);
      else this.#note(`${line}\n`);
    });
    this.#ended = new Promise((resolve) => {
      this.#child.once('error', (error) => this.#fail(String(error), resolve));
      this.#child.once('close', (code, signal) => this.#fail(`ended with ${signal ?? `code ${code}`}`, resolve));
    });
  }

  static node(name: string, dir: string, program: string, ...args: string[]): Peer {
    return new Peer(name, process.execPath, [`${root}bench/peers/${program}`, ...args], dir);
  }

  static python(name: string, dir: string, program: string, ...args: string[]): Peer {
    return new Peer(name, python, [`${root}bench/peers/${program}`, ...args], dir);
  }

  /** A compiled peer that has been built. */
  static compiled(name: string, dir: string, program: CompiledPeer, ...args: string[]): Peer {
    return new Peer(name, `${root}build/cmake/${program}`, args, dir);
  }

  static pythonModule(name: string, dir: string, module: string, ...args: string[]): Peer {
    return new Peer(name, python, ['-m', module, ...args], dir);
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  /** The end of what it printed. */
  get log(): string {
    return this.#log;
  }

  /** Resolves with what it says first. */
  started(): Promise<Record<string, unknown>> {
    return this.#next(START_TIMEOUT_MS);
  }

  ask<Answer>(command: object, timeoutMs = 60_000): Promise<Answer> {
    this.#child.stdin?.write(`${JSON.stringify(command)}\n`);
    return this.#next(timeoutMs) as Promise<Answer>;
  }

  /** Memory now, and the most there has been, in MiB. */
  memory(): { rssMiB: number; peakMiB: number } {
    const status = readFileSync(`/proc/${this.pid}/status`, 'utf8');
    const field = (name: string): number =>
      Math.round(Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0) / 1024);
    return { rssMiB: field('VmRSS'), peakMiB: field('VmHWM') };
  }

  /** Processor time spent so far, in milliseconds: by the thread that runs JavaScript or Python, and by all others. */
  cpu(): { mainMs: number; otherMs: number } {
    const spent = { mainMs: 0, otherMs: 0 };
    for (const thread of readdirSync(`/proc/${this.pid}/task`)) {
      const [user, system] = readFileSync(`/proc/${this.pid}/task/${thread}/stat`, 'utf8')
        .replace(/^.*\) /, '')
        .split(' ')
        .slice(11, 13);
      spent[Number(thread) === this.pid ? 'mainMs' : 'otherMs'] += (Number(user) + Number(system)) * TICK_MS;
    }
    return spent;
  }

  /** Processor time spent so far, in milliseconds, by the scheduler's own account: short turns count too. */
  busyMs(): number {
    const threads = readdirSync(`/proc/${this.pid}/task`);
    return threads.reduce(
      (sum, thread) =>
        sum + Number(readFileSync(`/proc/${this.pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]) / 1e6,
      0,
    );
  }

  /** Takes it off the processors until `resume`. */
  pause(): void {
    this.#child.kill('SIGSTOP');
  }

  resume(): void {
    this.#child.kill('SIGCONT');
  }

  async stop(): Promise<void> {
    this.resume();
    this.#child.stdin?.end();
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await this.#ended;
    clearTimeout(timer);
  }

  /** For programs that do not end with their input. */
  async terminate(): Promise<void> {
    this.#child.kill('SIGTERM');
    await this.stop();
  }

  #next(timeoutMs: number): Promise<Record<string, unknown>> {
    const ready = this.#answers.shift();
    if (ready !== undefined) return Promise.resolve(ready);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`${this.#name}: no answer within ${timeoutMs} ms\n${this.#log}`)),
        timeoutMs,
      );
      const settled = (): void => {
        clearTimeout(timer);
        this.#waiting = undefined;
      };
      this.#waiting = {
        resolve: (answer) => (settled(), resolve(answer)),
        reject: (error) => (settled(), reject(error)),
      };
    });
  }

  #answer(answer: Record<string, unknown>): void {
    if (typeof answer['error'] === 'string') this.#waiting?.reject(new Error(`${this.#name}: ${answer['error']}`));
    else if (this.#waiting === undefined) this.#answers.push(answer);
    else this.#waiting.resolve(answer);
  }

  #fail(why: string, ended: () => void): void {
    this.#waiting?.reject(new Error(`${this.#name} ${why}\n${this.#log}`));
    ended();
  }

  #note(text: string): void {
    this.#log = (this.#log + text).slice(-4000);
  }
}
