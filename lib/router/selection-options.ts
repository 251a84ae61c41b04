import { packArgs } from '../addon/codec.js';
import { MAX_U32 } from '../check.js';
import {
  boolean,
  instanceId,
  integer,
  listOf,
  nested,
  type OptionRows,
  type OptionTable,
  optionTable,
  text,
} from '../options.js';
import { sessionSecondsRow } from './config.js';
import { blockSizeRow } from './option-rows.js';
import { ROUTER_BASE_ROWS, type RouterBaseOptions } from './router-base.js';
import { ROUTING_REQUEST_ROWS, type RoutingRequest } from './routing-request.js';

/** Routers that share the requests that they route. */
export interface ReplicaOptions {
  /** The port on which this router publishes its requests. */
  readonly port: number;
  /** The other routers, as `tcp://host:port`. @default none */
  readonly peers?: readonly string[];
}

const REPLICA_OPTIONS: OptionTable<ReplicaOptions> = optionTable<ReplicaOptions>({
  port: integer(1, 65535).required().about('The port on which this router publishes its requests.'),
  peers: listOf(text, 'endpoints').about('The other routers, as `tcp://host:port`.'),
});

/** Options of a `SelectionService`. */
export interface SelectionServiceOptions extends RouterBaseOptions {
  /** Keep a session on its worker for this time after its last request. @default not at all */
  readonly sessionAffinitySeconds?: number;
  /** Share routed requests with other routers. @default not shared */
  readonly replica?: ReplicaOptions;
  /**
   * Routers from which the initial index is copied, as `http://host:port`. They answer `GET /dump` with a `snapshot`.
   * @default none
   */
  readonly indexerPeers?: readonly string[];
}

export const SELECTION_SERVICE_OPTIONS: OptionTable<SelectionServiceOptions> = optionTable<SelectionServiceOptions>({
  ...ROUTER_BASE_ROWS,
  sessionAffinitySeconds: sessionSecondsRow,
  replica: nested(REPLICA_OPTIONS),
  indexerPeers: listOf(text, 'URLs').about('Routers from which the initial index is copied, as `http://host:port`.'),
});

/** A pool of workers. Each pool is routed separately. */
export interface SelectionPool {
  /** Name of the model. @default 'default' */
  readonly model?: string;
  /** Name of the pool among those of the model. @default 'default' */
  readonly group?: string;
}

const POOL_ROWS: OptionRows<SelectionPool> = {
  model: text.about('Name of the model.'),
  group: text.about('Name of the pool among those of the model.'),
};

export const SELECTION_POOL: OptionTable<SelectionPool> = optionTable<SelectionPool>(POOL_ROWS);

/** A worker of a selection service. */
export interface SelectionWorker extends SelectionPool {
  readonly workerId: bigint;
  /** Tokens in a block. */
  readonly blockSize: number;
  /** The address of the worker for callers. Each decision contains it. @default its id */
  readonly endpoint?: string;
  /** @default 1 */
  readonly dataParallelSize?: number;
  /** The most tokens of one step. Needed if requests are queued. */
  readonly maxNumBatchedTokens?: number;
  readonly totalKvBlocks?: number;
  readonly taints?: readonly string[];
  readonly eagle?: boolean;
  /** The ZMQ publishers of its engine, one per rank, in order. @default its events arrive through `apply` */
  readonly kvEventsEndpoints?: readonly string[];
  /** The address at which the engine replays missed events. Only for one rank. */
  readonly replayEndpoint?: string;
}

export const SELECTION_WORKER: OptionTable<SelectionWorker> = optionTable<SelectionWorker>({
  ...POOL_ROWS,
  workerId: instanceId.required(),
  blockSize: blockSizeRow.required(),
  endpoint: text,
  dataParallelSize: integer(0, MAX_U32),
  maxNumBatchedTokens: integer(0),
  totalKvBlocks: integer(0),
  taints: listOf(text, 'strings'),
  eagle: boolean,
  kvEventsEndpoints: listOf(text, 'endpoints'),
  replayEndpoint: text,
});

/** A prompt that needs a worker of a pool. */
export interface SelectionRequest extends RoutingRequest, SelectionPool {}

export const SELECTION_REQUEST: OptionTable<SelectionRequest> = optionTable<SelectionRequest>({
  ...ROUTING_REQUEST_ROWS,
  ...POOL_ROWS,
});

export function poolArgs({ model = 'default', group = 'default' }: SelectionPool): Record<string, string> {
  return { model_name: model, routing_group: group };
}

export function workerArgs(worker: SelectionWorker): Uint8Array {
  return packArgs({
    ...poolArgs(worker),
    worker_id: worker.workerId,
    endpoint: worker.endpoint ?? String(worker.workerId),
    block_size: worker.blockSize,
    data_parallel_size: worker.dataParallelSize ?? 1,
    max_num_batched_tokens: worker.maxNumBatchedTokens,
    total_kv_blocks: worker.totalKvBlocks,
    taints: worker.taints ?? [],
    is_eagle: worker.eagle,
    // The crates read a map with integer keys.
    kv_events_endpoints: new Map((worker.kvEventsEndpoints ?? []).map((endpoint, rank) => [rank, endpoint])),
    replay_endpoint: worker.replayEndpoint,
  });
}
