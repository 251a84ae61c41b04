import { packArgs } from '../addon/codec.js';
import { invoke, invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { open } from '../addon/stream.js';
import { checkInstance, checkInstanceId, checkInteger, checkObject, checkOptions, checkString } from '../check.js';
import type { BlockEventSource } from '../kvbm/events.js';
import { Endpoint } from '../runtime/endpoint.js';
import { asBytes } from '../words.js';
import { Following } from './block-events.js';
import { encodeEvents, type KvEvent, type StorageTier } from './events.js';

/** An engine's own publisher of cache events over ZMQ, in vLLM's format: three frames, topic, sequence, MessagePack. */
export interface ZmqSource {
  /** Where the engine publishes, such as `tcp://127.0.0.1:5557`. */
  readonly endpoint: string;
  /** @default every topic */
  readonly topic?: string;
  /** The token that stands for a part of an image; the crates then hash media as frontends do. */
  readonly imageTokenId?: number;
  readonly videoTokenId?: number;
}

/** How a worker's events are published. */
export interface KvPublisherOptions {
  /** Tokens in a block. */
  readonly blockSize: number;
  /** The data-parallel rank whose events these are. @default 0 */
  readonly dpRank?: number;
  /** Keep an index of what was published, from which routers recover what they missed. @default true */
  readonly localIndexer?: boolean;
  /** Wait so long for further events before publishing, at most 15000 ms. @default not at all */
  readonly batchingMs?: number;
  /** The worker whose blocks these are. @default this runtime's instance */
  readonly workerId?: bigint;
  /** The endpoint that routers watch, `namespace.component.endpoint`. @default the one published on */
  readonly kvStateEndpoint?: string;
  /** Pass on the events of an engine. `publish` may add others. */
  readonly zmq?: ZmqSource;
  /** Publish what block managers hold, each with its tier: what they hold now, then every change. */
  readonly blocks?: BlockEventSource | readonly BlockEventSource[];
}

/**
 * Publishes changes of a worker's KV cache, so that KV-aware routers know what it has. Routers find it by discovery; what
 * they missed they ask for. Source: `dynamo-llm` `kv_router/publisher`.
 *
 * An engine behind `serveEngine` has a publisher already: `EngineWorker.publishKvEvents`.
 *
 * @example
 * const publisher = await KvPublisher.create(runtime.endpoint('dynamo.backend.generate'), { blockSize: 16 });
 * const tokensHashes = computeBlockHashes(tokens, 16);
 * publisher.stored(computeSequenceHashes(tokensHashes), tokensHashes);
 */
export class KvPublisher implements AsyncDisposable {
  #handle: Handle | undefined;
  #following: Following | undefined;

  private constructor(
    handle: Handle,
    readonly blockSize: number,
    readonly dpRank: number,
  ) {
    this.#handle = handle;
  }

  /** Starts publishing for an endpoint of this process's. */
  static async create(endpoint: Endpoint, options: KvPublisherOptions): Promise<KvPublisher> {
    const operation = 'KvPublisher.create';
    const path = `${operation} options`;
    checkInstance(`${operation} endpoint`, endpoint, Endpoint);
    checkOptions(path, options, [
      'blockSize',
      'dpRank',
      'localIndexer',
      'batchingMs',
      'workerId',
      'kvStateEndpoint',
      'zmq',
      'blocks',
    ]);
    const {
      blockSize,
      dpRank = 0,
      localIndexer = true,
      batchingMs,
      workerId,
      kvStateEndpoint,
      zmq,
      blocks = [],
    } = options;
    checkInteger(`${path}.blockSize`, blockSize, 1, 0xffff_ffff);
    checkInteger(`${path}.dpRank`, dpRank, 0, 0xffff_ffff);
    if (batchingMs !== undefined) checkInteger(`${path}.batchingMs`, batchingMs, 1, 15_000);
    if (workerId !== undefined) checkInstanceId(`${path}.workerId`, workerId);
    if (kvStateEndpoint !== undefined) checkString(`${path}.kvStateEndpoint`, kvStateEndpoint);
    if (zmq !== undefined) {
      checkObject(`${path}.zmq`, zmq, ['endpoint', 'topic', 'imageTokenId', 'videoTokenId']);
      checkString(`${path}.zmq.endpoint`, zmq.endpoint);
    }
    const sources: readonly BlockEventSource[] = Array.isArray(blocks) ? blocks : [blocks];
    for (const [index, { blockSize: size }] of sources.entries()) {
      if (size !== blockSize)
        throw new RangeError(`${path}.blocks[${index}]: expected blocks of ${blockSize} tokens, got ${size}`);
    }
    const source = zmq && { topic: '', ...zmq };
    const args = packArgs({ blockSize, dpRank, localIndexer, batchingMs, workerId, kvStateEndpoint, zmq: source });
    const handle = await invoke(native.kvPublisherCreate, operation, { handle: endpoint.handle(operation), args });
    const publisher = new KvPublisher(handle, blockSize, dpRank);
    if (sources.length > 0) publisher.#following = new Following(sources, (events) => publisher.publish(events));
    return publisher;
  }

  /** Rejects with what ended the publishing of block managers' changes; pending while it goes on. */
  get failed(): Promise<never> {
    return this.#following?.failed ?? new Promise(() => {});
  }

  /** Publishes events in order, as one batch: routers see all of them or none. */
  publish(events: readonly KvEvent[]): void {
    const operation = 'kvPublisher.publish';
    const handle = open(this.#handle, 'the KV publisher', operation);
    const payload = asBytes(encodeEvents(`${operation} events`, events, true));
    invokeSync(native.kvPublisherPublish, operation, { handle, payload });
  }

  /** A run of blocks is there: after the block `parentHash`, or at the beginning of a sequence. */
  stored(
    blockHashes: BigUint64Array | readonly bigint[],
    tokensHashes: BigUint64Array | readonly bigint[],
    options: {
      readonly parentHash?: bigint | null;
      readonly startPosition?: number | null;
      readonly tier?: StorageTier;
    } = {},
  ): void {
    checkOptions('kvPublisher.stored options', options, ['parentHash', 'startPosition', 'tier']);
    this.publish([{ kind: 'stored', blockHashes, tokensHashes, ...options }]);
  }

  /** Blocks are there no more. */
  removed(blockHashes: BigUint64Array | readonly bigint[], options: { readonly tier?: StorageTier } = {}): void {
    checkOptions('kvPublisher.removed options', options, ['tier']);
    this.publish([{ kind: 'removed', blockHashes, ...options }]);
  }

  /** No block of this rank is there any more. */
  cleared(): void {
    this.publish([{ kind: 'cleared' }]);
  }

  /** Leaves discovery: routers forget what was published. Idempotent. */
  async close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    await this.#following?.end();
    if (handle !== undefined) invokeSync(native.kvPublisherClose, 'kvPublisher.close', { handle });
  }

  /** Closes it at the end of an `await using` block. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Load of one rank; one of the two at least. */
export interface WorkerLoad {
  /** @default 0 */
  readonly dpRank?: number;
  /** Blocks of running requests. */
  readonly activeDecodeBlocks?: number;
  /** Blocks in use, those of the cache too. */
  readonly kvUsedBlocks?: number;
}

/** Publishes a worker's load, by which frontends tell a busy worker. Source: `dynamo-llm` `kv_router/publisher/worker_metrics.rs`. */
export class WorkerMetricsPublisher implements AsyncDisposable {
  #handle: Handle | undefined;

  private constructor(handle: Handle) {
    this.#handle = handle;
  }

  /** Starts publishing for an endpoint of this process's. */
  static async create(endpoint: Endpoint): Promise<WorkerMetricsPublisher> {
    const operation = 'WorkerMetricsPublisher.create';
    checkInstance(`${operation} endpoint`, endpoint, Endpoint);
    return new WorkerMetricsPublisher(
      await invoke(native.loadPublisherCreate, operation, { handle: endpoint.handle(operation) }),
    );
  }

  /** Publishes a load that differs from the rank's last one, at most once a millisecond. */
  publish(load: WorkerLoad): void {
    const operation = 'workerMetricsPublisher.publish';
    const path = `${operation} load`;
    checkOptions(path, load, ['dpRank', 'activeDecodeBlocks', 'kvUsedBlocks']);
    for (const [name, value] of Object.entries(load)) checkInteger(`${path}.${name}`, value, 0);
    if (load.activeDecodeBlocks === undefined && load.kvUsedBlocks === undefined) {
      throw new TypeError(`${path}: expected activeDecodeBlocks or kvUsedBlocks, got neither`);
    }
    const handle = open(this.#handle, 'the metrics publisher', operation);
    invokeSync(native.loadPublisherPublish, operation, { handle, args: packArgs({ ...load }) });
  }

  /** Ends publishing. Idempotent. */
  async close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    if (handle !== undefined) invokeSync(native.loadPublisherClose, 'workerMetricsPublisher.close', { handle });
  }

  /** Closes it at the end of an `await using` block. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
