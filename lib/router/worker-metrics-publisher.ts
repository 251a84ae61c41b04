import { Closeable } from '../addon/closeable.js';
import { packArgs } from '../addon/codec.js';
import { invoke, invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { checkInstance } from '../check.js';
import { badArgument } from '../errors.js';
import { defined, integer, type OptionTable, optionTable } from '../options.js';
import { Endpoint } from '../runtime/endpoint.js';

/** Load of one rank. At least one of the two block counts is needed. */
export interface WorkerLoad {
  /** @default 0 */
  readonly dpRank?: number;
  /** Blocks of running requests. */
  readonly activeDecodeBlocks?: number;
  /** Blocks in use, including cached ones. */
  readonly kvUsedBlocks?: number;
}

const WORKER_LOAD: OptionTable<WorkerLoad> = optionTable<WorkerLoad>({
  dpRank: integer(0),
  activeDecodeBlocks: integer(0),
  kvUsedBlocks: integer(0),
});

/**
 * Publishes a worker's load. Frontends use it to detect busy workers. Source: `dynamo-llm`
 * `kv_router/publisher/worker_metrics.rs`.
 */
export class WorkerMetricsPublisher extends Closeable<'loadPublisher'> {
  private constructor(handle: Handle<'loadPublisher'>) {
    super('the metrics publisher', handle);
  }

  /** Starts publishing for an endpoint of this process. */
  static async create(endpoint: Endpoint): Promise<WorkerMetricsPublisher> {
    const operation = 'WorkerMetricsPublisher.create';
    checkInstance(`${operation} endpoint`, endpoint, Endpoint);
    return new WorkerMetricsPublisher(
      await invoke(native.loadPublisherCreate, operation, { handle: endpoint.handle(operation) }),
    );
  }

  /** Publishes a load if it differs from the last one of the rank, at most once per millisecond. */
  publish(load: WorkerLoad): void {
    const operation = 'workerMetricsPublisher.publish';
    const path = `${operation} load`;
    WORKER_LOAD.check(path, load);
    if (load.activeDecodeBlocks === undefined && load.kvUsedBlocks === undefined) {
      throw badArgument(new TypeError(`${path}: expected activeDecodeBlocks or kvUsedBlocks, got neither`));
    }
    const handle = this.handle(operation);
    invokeSync(native.loadPublisherPublish, operation, { handle, args: packArgs(defined(load)) });
  }

  /** Ends publishing. @internal */
  protected override closeHandle(handle: Handle<'loadPublisher'>): void {
    invokeSync(native.loadPublisherClose, 'workerMetricsPublisher.close', { handle });
  }
}
