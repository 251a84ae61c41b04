import { Closeable } from '../addon/closeable.js';
import { packArgs } from '../addon/codec.js';
import { invoke, invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { checkInstance, checkObject, MAX_U32, wrongType } from '../check.js';
import { badArgument } from '../errors.js';
import type { BlockEventSource } from '../kvbm/events.js';
import {
  boolean,
  custom,
  instanceId,
  integer,
  nested,
  nullable,
  type Option,
  type OptionTable,
  oneOf,
  optionTable,
  text,
} from '../options.js';
import { Endpoint } from '../runtime/endpoint.js';
import { asBytes } from '../words.js';
import { BlockEventForwarder } from './block-events.js';
import { encodeEvents, type KvEvent, type RemovedEvent, STORAGE_TIERS, type StoredEvent } from './events.js';
import { blockSizeRow, dpRankRow } from './option-rows.js';

/** An engine's own ZMQ publisher of cache events, in vLLM's format: frames of topic, sequence, MessagePack. */
export interface ZmqSource {
  /** Where the engine publishes, such as `tcp://127.0.0.1:5557`. */
  readonly endpoint: string;
  /** @default every topic */
  readonly topic?: string;
  /** The placeholder token of images. With it, the crates hash media as frontends do. */
  readonly imageTokenId?: number;
  /** The placeholder token of videos. */
  readonly videoTokenId?: number;
}

const ZMQ_SOURCE: OptionTable<ZmqSource> = optionTable<ZmqSource>({
  endpoint: text.required().about('Where the engine publishes, such as `tcp://127.0.0.1:5557`.'),
  topic: text.about('The topic of the events.'),
  imageTokenId: integer(0, MAX_U32).about('The placeholder token of images.'),
  videoTokenId: integer(0, MAX_U32).about('The placeholder token of videos.'),
});

/** How the events of a worker are published. */
export interface KvPublisherOptions {
  /** Tokens in a block. */
  readonly blockSize: number;
  /** The data-parallel rank of the events. @default 0 */
  readonly dpRank?: number;
  /** Keep an index of the published blocks. Routers recover missed events from it. @default true */
  readonly localIndexer?: boolean;
  /** Wait this long for further events before publishing, at most 15000 ms. @default not at all */
  readonly batchingMs?: number;
  /** The worker that has the blocks. @default this runtime's instance */
  readonly workerId?: bigint;
  /** The endpoint that routers watch, `namespace.component.endpoint`. @default the endpoint of `create` */
  readonly kvStateEndpoint?: string;
  /** Forward the events of an engine. `publish` may add others. */
  readonly zmq?: ZmqSource;
  /** Publish the blocks of block managers, each with its tier: first a snapshot, then every change. */
  readonly blocks?: BlockEventSource | readonly BlockEventSource[];
}

const KV_PUBLISHER_OPTIONS: OptionTable<KvPublisherOptions> = optionTable<KvPublisherOptions>({
  blockSize: blockSizeRow.required(),
  dpRank: dpRankRow,
  localIndexer: boolean.about('Keep an index of the published blocks, from which routers recover missed events.'),
  batchingMs: integer(1, 15_000).about('Wait this long for further events before publishing.'),
  workerId: instanceId.about('The worker that has the blocks.'),
  kvStateEndpoint: text.about('The endpoint that routers watch.'),
  zmq: nested(ZMQ_SOURCE),
  blocks: custom('a block manager, or an array of them', checkSources),
});

function checkSources(path: string, sources: unknown): void {
  if (!Array.isArray(sources)) return checkSource(path, sources);
  sources.forEach((source, index) => checkSource(`${path}[${index}]`, source));
}

function checkSource(path: string, source: unknown): void {
  checkObject(path, source);
  if (typeof source['events'] !== 'function') wrongType(path, 'a block manager', source);
}

const hash: Option<bigint> = custom('a hash (a bigint)', (path, value) => {
  if (typeof value !== 'bigint') wrongType(path, 'a hash (a bigint)', value);
});

const tierRow = oneOf(...STORAGE_TIERS);

const STORED_OPTIONS: OptionTable<Pick<StoredEvent, 'parentHash' | 'startPosition' | 'tier'>> = optionTable<
  Pick<StoredEvent, 'parentHash' | 'startPosition' | 'tier'>
>({
  parentHash: nullable(hash),
  startPosition: nullable(integer(0, MAX_U32)),
  tier: tierRow,
});

const REMOVED_OPTIONS: OptionTable<Pick<RemovedEvent, 'tier'>> = optionTable<Pick<RemovedEvent, 'tier'>>({
  tier: tierRow,
});

/**
 * Publishes changes of a worker's KV cache for KV-aware routers. Routers find the publisher by discovery, and request
 * the events that they missed. Source: `dynamo-llm` `kv_router/publisher`.
 *
 * `close` leaves discovery. Routers then drop the published blocks. An engine of `serveEngine` already has a publisher:
 * `EngineWorker.publishKvEvents`.
 *
 * @example
 * const publisher = await KvPublisher.create(runtime.endpoint('dynamo.backend.generate'), { blockSize: 16 });
 * const tokensHashes = computeBlockHashes(tokens, 16);
 * publisher.stored(computeSequenceHashes(tokensHashes), tokensHashes);
 */
export class KvPublisher extends Closeable<'kvPublisher'> {
  #forwarder: BlockEventForwarder | undefined;

  private constructor(
    handle: Handle<'kvPublisher'>,
    readonly blockSize: number,
    readonly dpRank: number,
  ) {
    super('the KV publisher', handle);
  }

  /** Starts publishing for an endpoint of this process. */
  static async create(endpoint: Endpoint, options: KvPublisherOptions): Promise<KvPublisher> {
    const operation = 'KvPublisher.create';
    const path = `${operation} options`;
    checkInstance(`${operation} endpoint`, endpoint, Endpoint);
    KV_PUBLISHER_OPTIONS.check(path, options);
    const { dpRank = 0, localIndexer = true, zmq, blocks = [], ...others } = options;
    const { blockSize } = options;
    const sources: readonly BlockEventSource[] = Array.isArray(blocks) ? blocks : [blocks];
    for (const [index, source] of sources.entries()) {
      if (source.blockSize !== blockSize)
        throw badArgument(
          new RangeError(`${path}.blocks[${index}]: expected blocks of ${blockSize} tokens, got ${source.blockSize}`),
        );
    }
    const args = packArgs({ ...others, dpRank, localIndexer, zmq: zmq && { topic: '', ...zmq } });
    const handle = await invoke(native.kvPublisherCreate, operation, { handle: endpoint.handle(operation), args });
    const publisher = new KvPublisher(handle, blockSize, dpRank);
    if (sources.length > 0)
      publisher.#forwarder = new BlockEventForwarder(sources, (events) => publisher.publish(events));
    return publisher;
  }

  /** Rejects with the error that ended the forwarding of block managers' changes. Pending otherwise. */
  get failed(): Promise<never> {
    return this.#forwarder?.failed ?? new Promise(() => {});
  }

  /** Publishes events in order, as one batch. Routers see all of them or none. */
  publish(events: readonly KvEvent[]): void {
    const operation = 'kvPublisher.publish';
    const handle = this.handle(operation);
    const payload = asBytes(encodeEvents(`${operation} events`, events, true));
    invokeSync(native.kvPublisherPublish, operation, { handle, payload });
  }

  /** Publishes that the worker has a run of blocks: after the block `parentHash`, or from the start of a sequence. */
  stored(
    blockHashes: BigUint64Array | readonly bigint[],
    tokensHashes: BigUint64Array | readonly bigint[],
    options: Pick<StoredEvent, 'parentHash' | 'startPosition' | 'tier'> = {},
  ): void {
    STORED_OPTIONS.check('kvPublisher.stored options', options);
    this.publish([{ kind: 'stored', blockHashes, tokensHashes, ...options }]);
  }

  /** Publishes that the worker no longer has these blocks. */
  removed(blockHashes: BigUint64Array | readonly bigint[], options: Pick<RemovedEvent, 'tier'> = {}): void {
    REMOVED_OPTIONS.check('kvPublisher.removed options', options);
    this.publish([{ kind: 'removed', blockHashes, ...options }]);
  }

  /** Publishes that this rank no longer has any block. */
  cleared(): void {
    this.publish([{ kind: 'cleared' }]);
  }

  /** @internal */
  protected override async closeHandle(handle: Handle<'kvPublisher'>): Promise<void> {
    await this.#forwarder?.close();
    invokeSync(native.kvPublisherClose, 'kvPublisher.close', { handle });
  }
}
