import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Writable } from 'node:stream';

import { DistributedRuntime } from 'dynamo-node';
import type { CommandIo } from '../../../lib/cli/command.js';
import { COMMANDS, GROUPS } from '../../../lib/cli/commands.js';
import { runProgram } from '../../../lib/cli/program.js';
import { loadGraph } from '../../../lib/deploy/load-graph.js';
import { LocalGraph, type LocalGraphOptions } from '../../../lib/deploy/local/local-graph.js';
import type { RunState } from '../../../lib/deploy/local/run-folder.js';
import { Child } from '../child.js';
import { root } from '../project.js';
import { waitFor } from '../wait.js';
import type { Misbehaviour } from './graphs/serve.js';

/** The graph of `graphs/serve.ts`. */
export const SERVE_GRAPH = join(root, 'test/helpers/deploy/graphs/serve.ts');
const NAME = 'serve-test';
/** Every process of a graph loads TypeScript and the addon, all at the same time. */
const READY_MS = 120_000;

/** The ids of all processes that have a text in their environment, so also those that a worker started. */
export function processesWith(text: string): number[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const isZombie = /^State:\tZ/m.test(readFileSync(`/proc/${name}/status`, 'utf8'));
      return !isZombie && readFileSync(`/proc/${name}/environ`, 'utf8').includes(text) ? [Number(name)] : [];
    } catch {
      return [];
    }
  });
}

/** The result of a command. */
export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A folder for the runs of a test, and the `dynamo serve` processes in it. */
export class ServeTest implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'serve-'));

  /** @param env further variables of its processes */
  constructor(readonly env: NodeJS.ProcessEnv = {}) {}

  readonly #started: Child[] = [];
  readonly #locals: LocalGraph[] = [];
  readonly #runtimes: DistributedRuntime[] = [];

  /** `dynamo serve` in a process. */
  serve(args: readonly string[] = [], target = SERVE_GRAPH): Child {
    return this.start(['serve', target, ...args]);
  }

  /** Any command in a process, with further variables. */
  start(args: readonly string[], env: NodeJS.ProcessEnv = {}): Child {
    const child = Child.program('lib/cli/main.ts', args, { env: { ...this.#env, ...env }, cwd: root });
    this.#started.push(child);
    return child;
  }

  /** A command of the built package in a process, in the folder of a user. */
  startBuilt(args: readonly string[], cwd: string): Child {
    const env = { ...this.#env, TSX_TSCONFIG_PATH: undefined };
    const child = Child.start(process.execPath, [join(root, 'dist/cli/main.js'), ...args], { env, cwd });
    this.#started.push(child);
    return child;
  }

  /** Any other command, in this process. */
  async dynamo(...args: readonly string[]): Promise<CommandResult> {
    const texts = { stdout: '', stderr: '' };
    const stream = (name: 'stdout' | 'stderr') =>
      new PassThrough().on('data', (chunk: Buffer) => {
        texts[name] += chunk.toString();
      });
    const io: CommandIo = {
      stdin: new PassThrough(),
      stdout: stream('stdout'),
      stderr: stream('stderr'),
      env: this.#env,
      cwd: root,
      isTerminal: false,
      columns: 80,
      onSignal: () => () => {},
    };
    return { code: await runProgram(args, io, COMMANDS, GROUPS), ...texts };
  }

  /** The states of the graphs that run. */
  async states(): Promise<RunState[]> {
    return JSON.parse((await this.dynamo('ps', '--json')).stdout) as RunState[];
  }

  /** Resolves when a graph is ready. */
  async ready(child: Child, name = NAME, timeoutMs = READY_MS): Promise<void> {
    await waitFor(
      `graph ${name} is ready`,
      () => ({ output: child.output, isRunning: child.isRunning }),
      ({ output, isRunning }) => output.includes(`graph ${name} is ready`) || !isRunning,
      timeoutMs,
    );
    if (!child.isRunning) throw new Error(`dynamo serve ended: ${child.output}`);
  }

  /** A runtime that finds the workers of a graph. */
  async runtime(name = NAME): Promise<DistributedRuntime> {
    const dir = join(this.folder, name, 'discovery');
    const runtime = await DistributedRuntime.create({ discovery: { kind: 'file', dir }, host: '127.0.0.1' });
    this.#runtimes.push(runtime);
    return runtime;
  }

  /** The processes of all graphs of this test. */
  get processes(): number[] {
    return processesWith(`DYN_LOCAL_STATE_DIR=${this.folder}`);
  }

  /** The graph in this process, with only its workers in processes of their own. */
  async local(
    config: Readonly<Record<string, Misbehaviour>> = {},
    options: Partial<LocalGraphOptions> = {},
    target = SERVE_GRAPH,
  ) {
    const { graph, ...module } = await loadGraph(target, root);
    const spec = graph.toJSON();
    const services = spec.services.map((one) => ({ ...one, config: { ...config[one.name] } }));
    const notes: string[] = [];
    const lines: string[] = [];
    const out = new Writable({
      write: (chunk: Buffer, _, done) => {
        lines.push(...chunk.toString().split('\n').slice(0, -1));
        done();
      },
    });
    const local = await LocalGraph.create({
      module,
      spec: { ...spec, services },
      env: this.#env,
      out,
      note: (note) => void notes.push(note),
      ...options,
    });
    this.#locals.push(local);
    return { local, notes, lines };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const runtime of this.#runtimes) await runtime.close();
    for (const child of this.#started) await child.stop();
    for (const local of this.#locals) {
      void local.drain();
      local.kill();
      await local.ended.catch(() => {});
      await local.close();
    }
    await waitFor(
      'no process is left',
      () => this.processes,
      (pids) => pids.length === 0,
    );
    rmSync(this.folder, { recursive: true });
  }

  get #env(): NodeJS.ProcessEnv {
    const { DYN_FILE_KV: _, DYN_DISCOVERY_BACKEND: __, ...env } = process.env;
    return {
      ...env,
      DYN_LOCAL_STATE_DIR: this.folder,
      TSX_TSCONFIG_PATH: join(root, 'tsconfig.check.json'),
      ...this.env,
    };
  }
}
