import { checkInstance, checkObject } from '../check.js';
import { ClosedError } from '../errors.js';
import { type BuiltInEngine, BuiltInWorker } from '../llm/built-in-worker.js';
import { custom, defined, integer, type OptionTable, oneOf, optionTable, text } from '../options.js';
import { startCluster, TestCluster, testRow } from './cluster.js';
import { closeAfterTest, type TestContext } from './test-context.js';

type Mocker = Omit<Extract<BuiltInEngine, { readonly kind: 'mocker' }>, 'kind'>;

/** Workers with Dynamo's mocker: random tokens, the timing of an engine, and a simulated KV cache with its events. */
export interface MockerPoolOptions extends Mocker {
  /** The number of workers, at most 256. @default 2 */
  readonly count?: number;
  /** `namespace.component.endpoint`. @default 'dynamo.backend.generate' */
  readonly endpoint?: string;
  /** The deployment that they are a part of. @default their own, with discovery by files */
  readonly cluster?: TestCluster;
  /** The context of a test: the pool is closed at its end, also after a timeout. @default closed by the caller */
  readonly test?: TestContext;
}

/** All run in one process, each with its own threads. */
const MAX_COUNT = 256;

const OPTIONS: OptionTable<MockerPoolOptions> = optionTable<MockerPoolOptions>({
  modelPath: text.required().about("The model's folder in Hugging Face layout; no weights are needed."),
  modelName: text.about('The name that clients use.'),
  workerType: oneOf('aggregated', 'prefill', 'decode').about('The part of a request that a worker does.'),
  kvCacheBlockSize: integer(1).about('Tokens in a KV cache block.'),
  config: custom<Readonly<Record<string, unknown>>>('an object', checkObject).about('A MockerConfig of the crates.'),
  count: integer(0, MAX_COUNT).about('The number of workers.'),
  endpoint: text.about('The endpoint that they serve.'),
  cluster: custom<TestCluster>('a cluster', (path, value) => checkInstance(path, value, TestCluster)).about(
    'The deployment that they are a part of.',
  ),
  test: testRow,
});

/** Mockers that serve one endpoint, each on its own runtime. Made by `startMockers`. */
export class MockerPool implements AsyncDisposable {
  readonly #workers: BuiltInWorker[] = [];
  readonly #starting = new Set<Promise<BuiltInWorker>>();
  #closing: Promise<void> | undefined;

  /** @internal */
  constructor(
    readonly cluster: TestCluster,
    private readonly ownsCluster: boolean,
    private readonly endpoint: string,
    private readonly mocker: Mocker,
  ) {}

  get workers(): readonly BuiltInWorker[] {
    return this.#workers;
  }

  /**
   * Starts one more worker.
   *
   * @throws ClosedError if the pool is closed before it has started; it is then closed too
   */
  async add(): Promise<BuiltInWorker> {
    if (this.#closing !== undefined) throw new ClosedError('the pool', 'add');
    const starting = this.#start();
    this.#starting.add(starting);
    const worker = await starting.finally(() => this.#starting.delete(starting));
    await worker.ready;
    return worker;
  }

  /** Drains the worker that was added last. */
  async remove(): Promise<void> {
    const worker = this.#workers.pop();
    if (worker === undefined) throw new RangeError(`mockers of ${this.endpoint}: expected one to remove, got none`);
    await worker.close();
  }

  /** Closes all workers. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #start(): Promise<BuiltInWorker> {
    const worker = await BuiltInWorker.start(this.cluster.options, this.endpoint, { kind: 'mocker', ...this.mocker });
    if (this.#closing !== undefined) {
      await worker.close();
      throw new ClosedError('the pool', 'add');
    }
    this.#workers.push(worker);
    return worker;
  }

  async #close(): Promise<void> {
    try {
      await Promise.allSettled(this.#starting);
      await Promise.all(this.#workers.splice(0).map((worker) => worker.close()));
    } finally {
      if (this.ownsCluster) await this.cluster.close();
    }
  }
}

/**
 * Starts a pool of workers with Dynamo's mocker in this process.
 *
 * @throws TypeError, RangeError for a wrong option, and what the start of a worker throws; then none is left
 *
 * @example
 * import { startCluster, startMockers } from 'dynamo-node/testing';
 *
 * await using cluster = await startCluster();
 * await using mockers = await startMockers({
 *   cluster,
 *   modelPath: './my-model',
 *   config: { engine: { speedup_ratio: 10 } },
 * });
 */
export async function startMockers(options: MockerPoolOptions): Promise<MockerPool> {
  OPTIONS.check('startMockers options', options);
  const { count = 2, endpoint = 'dynamo.backend.generate', cluster, test, ...mocker } = options;
  const own = cluster ?? (await startCluster());
  const pool = new MockerPool(own, cluster === undefined, endpoint, defined(mocker) as unknown as Mocker);
  cluster?.use(pool);
  if (test !== undefined) closeAfterTest(test, pool);
  try {
    await Promise.all(Array.from({ length: count }, () => pool.add()));
    return pool;
  } catch (error) {
    await pool.close().catch(() => {});
    throw error;
  }
}
