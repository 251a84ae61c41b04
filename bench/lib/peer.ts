import { execFileSync } from 'node:child_process';

import { Child } from '../../test/helpers/child.js';
import { missingPeers, peerEnvironment } from '../../test/helpers/interop/peers.js';
import { root } from '../../test/helpers/project.js';
import { busyMsOf, type CpuTime, cpuOf, type Memory, memoryOf } from './proc.js';

export { missingPeers as pythonMissing, root };

/** A program without the addon: Rust on the crates, from native/core/examples, or C++ on NIXL's library. */
type CompiledPeer = 'echo_peer' | 'index_peer' | 'nixl_peer';

/** Builds a compiled peer, in the build folder and with the flags of the addon. */
export function buildPeer(peer: CompiledPeer): void {
  execFileSync('cmake', ['--build', `${root}build/cmake`, '--target', peer], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}

type Answer = Record<string, unknown>;

const PREFIX = '{"bench":';
const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 5_000;

/** A process of a bench. Commands and answers are lines of JSON. It ends when its input ends. */
export class Peer {
  readonly #child: Child;
  readonly #name: string;
  readonly #answers: Answer[] = [];
  #waiting: { resolve(answer: Answer): void; reject(error: Error): void } | undefined;

  private constructor(name: string, command: string, args: readonly string[], dir: string) {
    this.#name = name;
    this.#child = Child.start(command, args, {
      env: {
        ...peerEnvironment(dir),
        NODE_OPTIONS: '',
        RUST_BACKTRACE: '0',
        DYN_LOG: 'error',
        DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS: '0',
      },
      onLine: (line) => this.#readAnswer(line),
    });
    void this.#child.exited.then(({ code, signal }) => this.#fail(`ended with ${signal ?? `code ${code}`}`));
  }

  static node(name: string, dir: string, program: string, ...args: string[]): Peer {
    return new Peer(name, process.execPath, [`${root}bench/peers/${program}`, ...args], dir);
  }

  static python(name: string, dir: string, program: string, ...args: string[]): Peer {
    return new Peer(name, `${root}.peers/bin/python`, [`${root}bench/peers/${program}`, ...args], dir);
  }

  /** A compiled peer that `buildPeer` has built. */
  static compiled(name: string, dir: string, program: CompiledPeer, ...args: string[]): Peer {
    return new Peer(name, `${root}build/cmake/${program}`, args, dir);
  }

  static pythonModule(name: string, dir: string, module: string, ...args: string[]): Peer {
    return new Peer(name, `${root}.peers/bin/python`, ['-m', module, ...args], dir);
  }

  /** The end of its output, without its answers. */
  get log(): string {
    return this.#child.output;
  }

  /** Resolves with its first answer. */
  started(): Promise<Answer> {
    return this.#next(START_TIMEOUT_MS);
  }

  /** Sends a command and resolves with its answer. */
  call<Result>(command: object, timeoutMs = 60_000): Promise<Result> {
    this.#child.send(command);
    return this.#next(timeoutMs) as Promise<Result>;
  }

  memory(): Memory {
    return memoryOf(this.#child.pid);
  }

  /** Processor time since its start. */
  cpu(): CpuTime {
    return cpuOf(this.#child.pid);
  }

  /** Processor time since its start, including runs shorter than a tick. */
  busyMs(): number {
    return busyMsOf(this.#child.pid);
  }

  /** Stops it from running until `resume`. */
  pause(): void {
    this.#child.kill('SIGSTOP');
  }

  resume(): void {
    this.#child.kill('SIGCONT');
  }

  async stop(): Promise<void> {
    this.resume();
    this.#child.write('', true);
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await this.#child.exited;
    clearTimeout(timer);
  }

  /** For programs that do not end when their input ends. */
  async terminate(): Promise<void> {
    this.#child.kill('SIGTERM');
    await this.stop();
  }

  #next(timeoutMs: number): Promise<Answer> {
    const answer = this.#answers.shift();
    if (answer !== undefined) return Promise.resolve(answer);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#fail(`sent no answer within ${timeoutMs} ms`), timeoutMs);
      const settle = (): void => {
        clearTimeout(timer);
        this.#waiting = undefined;
      };
      this.#waiting = {
        resolve: (value) => (settle(), resolve(value)),
        reject: (error) => (settle(), reject(error)),
      };
    });
  }

  /** Returns whether the line is an answer. */
  #readAnswer(line: string): boolean {
    if (!line.startsWith(PREFIX)) return false;
    const { bench: answer } = JSON.parse(line) as { bench: Answer };
    if (typeof answer['error'] === 'string') this.#waiting?.reject(new Error(`${this.#name}: ${answer['error']}`));
    else if (this.#waiting === undefined) this.#answers.push(answer);
    else this.#waiting.resolve(answer);
    return true;
  }

  #fail(reason: string): void {
    this.#waiting?.reject(new Error(`${this.#name} ${reason}\n${this.log}`));
  }
}
