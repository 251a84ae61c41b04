// `dynamo serve` in its own process, and the numbers of its workers over time.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { temporaryFolder } from '../processes.js';

const dynamo = fileURLToPath(new URL('dist/cli/main.js', import.meta.resolve('dynamo-node/package.json')));
const graphs = fileURLToPath(new URL('graph.ts', import.meta.url));

const LOOK_MS = 100;

interface State {
  readonly urls: readonly string[];
  readonly services: readonly { readonly name: string; readonly workers: readonly { readonly phase: string }[] }[];
}

/** A change of the number of worker processes. */
export interface WorkerCount {
  readonly atMs: number;
  readonly count: number;
}

/** A graph that runs. */
export class Served {
  /** Changes since the last `count`. */
  counts: WorkerCount[] = [];
  #startMs = 0;
  #timer: NodeJS.Timeout | undefined;

  private constructor(
    readonly url: string,
    readonly folder: string,
    private readonly end: () => Promise<void>,
  ) {}

  /** Starts a graph of `graph.ts` and waits until it is ready. */
  static async start(name: 'scaled' | 'fixed', workers: number): Promise<Served> {
    const runs = temporaryFolder('dynamo-planner-');
    const args = [dynamo, 'serve', `${graphs}:${name}`, `--Worker.ServiceArgs.workers=${workers}`, '--json'];
    const child = spawn(process.execPath, args, {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, DYN_LOCAL_STATE_DIR: runs },
    });
    const ended = once(child, 'exit');
    const end = async (): Promise<void> => {
      child.kill('SIGTERM');
      await ended;
    };
    for await (const line of createInterface({ input: child.stdout }))
      return new Served((JSON.parse(line) as State).urls[0] as string, join(runs, name), end);
    throw new Error(`dynamo serve ended with code ${(await ended)[0]}`);
  }

  /** Begins to count the worker processes, from time 0. */
  count(): void {
    this.counts = [];
    this.#startMs = performance.now();
    clearInterval(this.#timer);
    const look = (): void => {
      const { services } = JSON.parse(readFileSync(join(this.folder, 'state.json'), 'utf8')) as State;
      const workers = services.find(({ name }) => name === 'Worker')?.workers ?? [];
      const count = workers.filter(({ phase }) => ['starting', 'ready', 'draining'].includes(phase)).length;
      if (count !== this.counts.at(-1)?.count) this.counts.push({ atMs: performance.now() - this.#startMs, count });
    };
    look();
    this.#timer = setInterval(look, LOOK_MS);
  }

  /** The decisions of its planner that changed something, in words. */
  get decisions(): string[] {
    const file = join(this.folder, 'decisions.jsonl');
    if (!existsSync(file)) return [];
    return readFileSync(file, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Decision)
      .filter(({ outcome }) => outcome !== 'unchanged')
      .map(({ snapshot, targets, reasons, outcome }) => {
        const why = reasons.map(({ text }) => text).join('; ');
        return `${outcome}: ${snapshot.pools.worker.desired} to ${targets.worker} workers, because ${why}`;
      });
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.end();
  }
}

interface Decision {
  readonly outcome: string;
  readonly snapshot: { readonly pools: { readonly worker: { readonly desired: number } } };
  readonly targets: { readonly worker: number };
  readonly reasons: readonly { readonly text: string }[];
}
