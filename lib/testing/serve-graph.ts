import { join } from 'node:path';
import { Writable } from 'node:stream';
import { checkInstance } from '../check.js';
import { loadGraph } from '../deploy/load-graph.js';
import { LocalGraph } from '../deploy/local/local-graph.js';
import type { RunState, WorkerStatus } from '../deploy/local/run-folder.js';
import { ClosedError } from '../errors.js';
import { custom, listOf, milliseconds, type OptionTable, optionTable, stringMap, text } from '../options.js';
import type { ClientOf } from '../sdk/client.js';
import { applyConfig, mergeConfig } from '../sdk/config.js';
import { checkConfig } from '../sdk/config-check.js';
import type { Graph } from '../sdk/graph.js';
import { connectService } from '../sdk/host.js';
import { parseOverrides } from '../sdk/overrides.js';
import type { ServiceLike } from '../sdk/service.js';
import { startCluster, TestCluster, testRow } from './cluster.js';
import { removeAtExit } from './leftovers.js';
import { closeAfterTest, type TestContext } from './test-context.js';
import { waitFor } from './wait.js';

/** How a graph is served for a test. */
export interface ServeGraphOptions {
  /** The folder that a relative target is below. @default that of this process */
  readonly cwd?: string;
  /** Values as on the command line, such as `--Worker.ServiceArgs.workers=2`. @default none */
  readonly overrides?: readonly string[];
  /** Variables of the workers besides those of this process. @default none */
  readonly env?: Readonly<Record<string, string>>;
  /** The deployment that it is a part of. @default its own, with discovery by files */
  readonly cluster?: TestCluster;
  /** How long a worker may start. @default 120000 */
  readonly startTimeoutMs?: number;
  /** How long a worker may complete its requests at the end. @default 5000 */
  readonly graceMs?: number;
  /** The context of a test: the graph is closed at its end, also after a timeout. @default closed by the caller */
  readonly test?: TestContext;
}

const OPTIONS: OptionTable<ServeGraphOptions> = optionTable<ServeGraphOptions>({
  cwd: text.about('The folder that a relative target is below.'),
  overrides: listOf(text, 'overrides such as --Worker.key=value').about('Values over the configuration.'),
  env: stringMap.about('Variables of the workers.'),
  cluster: custom<TestCluster>('a cluster', (path, value) => checkInstance(path, value, TestCluster)).about(
    'The deployment that it is a part of.',
  ),
  startTimeoutMs: milliseconds(1).about('How long a worker may start.'),
  graceMs: milliseconds().about('How long a worker may complete its requests at the end.'),
  test: testRow,
});

const START_MS = 120_000;
const GRACE_MS = 5000;
const MAX_OUTPUT_CHARACTERS = 64 * 1024;

/** A graph with a process for each worker, as `dynamo serve` runs it. Made by `serveGraph`. */
export class ServedGraph implements AsyncDisposable {
  #output = '';
  #closing: Promise<void> | undefined;
  readonly #connected: AsyncDisposable[] = [];
  readonly #forget: () => void;

  /** @internal */
  constructor(
    readonly graph: Graph,
    readonly cluster: TestCluster,
    private readonly ownsCluster: boolean,
    private readonly local: LocalGraph,
  ) {
    this.#forget = removeAtExit(() => local.kill());
  }

  /** The last 65536 characters of the output of all workers, and of what happened to them. */
  get output(): string {
    return this.#output;
  }

  /** Its services and workers now, as `dynamo ps --json` shows them. */
  get state(): RunState {
    return this.local.state;
  }

  /** The address for HTTP clients of the entry; undefined if that has none. */
  get url(): string | undefined {
    return this.worker(this.graph.entry.name).url;
  }

  /**
   * One worker in `state`.
   *
   * @throws RangeError for a worker that does not exist
   */
  worker(service: string, number = 0): WorkerStatus {
    const found = this.state.services.find(({ name }) => name === service);
    const worker = found?.workers.find((one) => one.number === number);
    if (worker === undefined) throw new RangeError(`${service}#${number}: the graph has no such worker`);
    return worker;
  }

  /** A client of a service, as a service that depends on it has. It waits until a worker can be called. */
  async client<Methods>(service: ServiceLike<Methods>): Promise<ClientOf<Methods>> {
    const connected = await connectService(await this.cluster.runtime(), service);
    this.#connected.push(connected);
    return connected.client;
  }

  /** Kills a worker and what it started at once. The supervisor starts it again. */
  kill(service: string, number = 0): void {
    this.local.signal({ service, number }, 'SIGKILL');
  }

  /** Stops a worker: its connections stay open and nothing answers, until `resume`. */
  pause(service: string, number = 0): void {
    this.local.signal({ service, number }, 'SIGSTOP');
  }

  /** Ends a `pause`. */
  resume(service: string, number = 0): void {
    this.local.signal({ service, number }, 'SIGCONT');
  }

  /** Sets numbers of workers. It resolves when new ones are ready and removed ones have completed their requests. */
  scale(counts: Readonly<Record<string, number>>): Promise<void> {
    return this.local.scale(Object.entries(counts).map(([name, count]) => `${name}=${count}`));
  }

  /**
   * Waits until `state` is as wanted.
   *
   * @param timeoutMs @default 30000
   * @throws Error after `timeoutMs` with the state and the output
   */
  async waitFor(what: string, isWanted: (state: RunState) => boolean, timeoutMs?: number): Promise<RunState> {
    const found = await waitFor(
      what,
      () => ({ state: this.state, output: this.#output }),
      ({ state }) => isWanted(state),
      timeoutMs,
    );
    return found.state;
  }

  /** Drains all workers, the entry first, and kills those that take longer than `graceMs`. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** @internal */
  print(text: string): void {
    this.#output = (this.#output + text).slice(-MAX_OUTPUT_CHARACTERS);
  }

  async #close(): Promise<void> {
    try {
      await Promise.all(this.#connected.map((one) => one[Symbol.asyncDispose]()));
      await this.local.drain();
      await this.local.close();
    } finally {
      this.#forget();
      if (this.ownsCluster) await this.cluster.close();
    }
  }
}

/**
 * Serves the graph of a module with a process for each worker, and waits until it is ready. So a test can kill or stop
 * one. Services of Python run too.
 *
 * @param target as for `dynamo serve`: a module, `graph.ts:Export`, or a folder
 * @throws DeployError for a graph that cannot be loaded, or a worker that does not start; then nothing is left running.
 * ClosedError if it is closed before it is ready
 *
 * @example
 * import { serveGraph } from 'dynamo-node/testing';
 *
 * await using served = await serveGraph('graph.ts', { overrides: ['--Worker.ServiceArgs.workers=2'] });
 * served.kill('Worker', 1);
 */
export async function serveGraph(target: string, options: ServeGraphOptions = {}): Promise<ServedGraph> {
  OPTIONS.check('serveGraph options', options);
  const { cwd = process.cwd(), overrides = [], env = {}, test } = options;
  const { graph, ...module } = await loadGraph(target, cwd);
  const config = mergeConfig(
    graph.services.map(({ name }) => name),
    [parseOverrides(overrides)],
  );
  await checkConfig(graph, config);
  const cluster = options.cluster ?? (await startCluster());
  const lines: { print(text: string): void } = { print: () => {} };
  try {
    cluster.assertOpen('serveGraph');
    const local = await LocalGraph.create({
      module,
      spec: applyConfig(graph.toJSON(), config),
      env: { ...process.env, ...cluster.env, ...env, DYN_LOCAL_STATE_DIR: join(cluster.folder, 'runs') },
      planeHost: cluster.options.host,
      httpPort: 0,
      startTimeoutMs: options.startTimeoutMs ?? START_MS,
      graceMs: options.graceMs ?? GRACE_MS,
      out: new Writable({
        write(chunk: Buffer, _, done) {
          lines.print(chunk.toString());
          done();
        },
      }),
      note: (message) => lines.print(`[dynamo] ${message}\n`),
    });
    const served = new ServedGraph(graph, cluster, options.cluster === undefined, local);
    lines.print = (text) => served.print(text);
    options.cluster?.use(served);
    if (test !== undefined) closeAfterTest(test, served);
    try {
      await local.start();
      if (served.state.phase !== 'ready') throw new ClosedError('the graph', 'serveGraph');
      return served;
    } catch (error) {
      await served.close().catch(() => {});
      throw error;
    }
  } catch (error) {
    if (options.cluster === undefined) await cluster.close();
    throw error;
  }
}
