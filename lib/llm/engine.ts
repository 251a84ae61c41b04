import type { Awaitable } from '../check.js';
import type { RequestContext } from '../runtime/context.js';
import type { LLMEngineOutput, PreprocessedRequest } from './protocol.js';

/** What a token engine advertises to routers and planners. An absent field is not advertised. */
export interface LlmRegistration {
  /**
   * The longest context, in tokens, as shown to clients. The frontend does not reject longer prompts, unless the
   * engine's `runtimeData` has a `token_budget`: `{combined_limit, reject_prompt_overflow, reject_total_overflow}`.
   */
  readonly contextLength?: number;
  /** Tokens in a KV cache block. Without it, KV-aware routing falls back to round-robin. */
  readonly kvCacheBlockSize?: number;
  /** Blocks in the KV cache. */
  readonly totalKvBlocks?: number;
  /** The maximum number of requests that run concurrently. */
  readonly maxNumSeqs?: number;
  /** The maximum number of tokens in one step, over all requests. */
  readonly maxNumBatchedTokens?: number;
  /**
   * The number of LoRA adapters that fit on this worker. A frontend with `$DYN_LORA_ENABLED` uses it to place adapters.
   * @default the value of the adapters' own cards
   */
  readonly maxGpuLoraCount?: number;
  /** Data-parallel ranks of this worker. @default 1 */
  readonly dataParallelSize?: number;
  /** The first of these ranks. @default 0 */
  readonly dataParallelStartRank?: number;
  /** KV events are keyed by pairs of tokens, as EAGLE does. @default false */
  readonly enableEagle?: boolean;
  /** The address at which decode workers connect to this prefill worker. */
  readonly bootstrapHost?: string;
  readonly bootstrapPort?: number;
}

/** The result of an engine's `start`. */
export interface EngineConfig {
  /** The model's original name, such as its name on the model hub. */
  readonly model: string;
  /** The name that clients use. @default model */
  readonly servedModelName?: string;
  /** Additional names that clients may use. */
  readonly modelAliases?: readonly string[];
  /** Free-form data of the engine, published with the model card. */
  readonly runtimeData?: Readonly<Record<string, unknown>>;
  /** Token engines only. */
  readonly llm?: LlmRegistration;
}

/** A cache event in the format of the crates. Source: `dynamo-kv-router` `protocols.rs`. */
export interface KvCacheEvent {
  readonly event_id: number | bigint;
  readonly data:
    | {
        readonly stored: {
          /** Hash of the block before the first one, or null at the start of a sequence. */
          readonly parent_hash: bigint | number | null;
          readonly start_position: number | null;
          readonly blocks: readonly {
            /** The engine's identifier of the block; unique over all prefixes. */
            readonly block_hash: bigint | number;
            /** Hash of the block's tokens alone. */
            readonly tokens_hash: bigint | number;
            readonly mm_extra_info?: unknown;
          }[];
        };
      }
    | { readonly removed: { readonly block_hashes: readonly (bigint | number)[] } }
    | 'cleared';
  readonly dp_rank?: number;
}

/** The load of one rank. */
export interface LoadSnapshot {
  readonly kvUsedBlocks: number;
  readonly kvTotalBlocks: number;
  /** 0 to 1. @default `kvUsedBlocks / kvTotalBlocks` */
  readonly gpuCacheUsage?: number;
  /** 0 to 1, over the last interval; absent if it was not measured. */
  readonly kvCacheHitRate?: number;
  /** @default 0 */
  readonly dpRank?: number;
}

/** The worker in which an engine runs, as the engine sees it. */
export interface EngineWorker {
  /** Stable for the life of the worker and unique in the deployment; 0 in the conformance kit. */
  readonly workerId: bigint;
  /**
   * Publishes cache events of one rank, in order. Returns false while the rank has no publisher: before the worker
   * serves, or if KV routing is off.
   */
  publishKvEvents(events: readonly KvCacheEvent[], dpRank?: number): boolean;
  /** Publishes the load of a rank. Returns false while there is no publisher, as `publishKvEvents` does. */
  publishLoad(snapshot: LoadSnapshot): boolean;
}

/** Receives an engine's own metrics. */
export interface EngineMetrics {
  /** Namespace, component, endpoint, worker id and model, with the same names as in Dynamo's metrics. */
  readonly labels: Readonly<Record<string, string>>;
  /**
   * Sets the Prometheus text that every later scrape of `/metrics` appends to Dynamo's own metrics. A scrape does not
   * wait for the engine.
   */
  setText(exposition: string): void;
}

/** The source of the KV cache events of one rank. */
export type KvEventSource =
  /** The engine's own ZMQ publisher. */
  | {
      readonly kind: 'zmq';
      readonly endpoint: string;
      readonly topic?: string;
      readonly dpRank?: number;
      readonly imageTokenId?: number;
    }
  /** Calls of `EngineWorker.publishKvEvents`. */
  | { readonly kind: 'push'; readonly dpRank?: number };

/** The part of an engine that does not depend on the types of its requests and responses. */
export interface EngineBase {
  /**
   * Makes the engine ready for requests. After it resolves, the model is registered and served. Source:
   * `dynamo-backend-common` `engine.rs`.
   */
  start(worker: EngineWorker): Awaitable<EngineConfig>;
  /**
   * Called when a request is cancelled. Its `context.signal` is aborted in any case; this method is for engines that
   * must notify a scheduler.
   */
  abort?(requestId: string): Awaitable<void>;
  /** Called after the worker has left discovery. No new requests arrive; running requests may complete. */
  drain?(): Awaitable<void>;
  /**
   * Called on a prefill worker before `cleanup`. Returns true if no other worker reads its KV blocks any longer, false
   * if one may still read them.
   */
  isQuiescent?(): Awaitable<boolean>;
  /** Releases all resources. Called once, also after a failed `start`. */
  cleanup?(): Awaitable<void>;
  /** Called once, after `start`. */
  setupMetrics?(metrics: EngineMetrics): Awaitable<void>;
  /** The ranks that call `publishLoad`. */
  readonly metricsRanks?: readonly number[];
  /**
   * Handlers of `POST /engine/control/NAME` on the status server, such as `clear_kv_blocks`. The worker leaves
   * discovery before `pause_generation`, `sleep` and `release_memory_occupation`. It rejoins after `resume_generation`,
   * `wake_up` and `resume_memory_occupation`, unless the result has `status: 'error'` or `is_sleeping: true`.
   */
  readonly controls?: Readonly<Record<string, (body: unknown) => unknown>>;
  /**
   * Validates the body of a control and throws if it is invalid. Called before the worker leaves discovery for the
   * control; the error becomes the response. It must settle within 5 s and have no side effects. Token engines only.
   */
  validateEngineControl?(name: string, body: unknown): Awaitable<void>;
  /** Handlers of `POST /engine/update/NAME` on the status server. */
  readonly updates?: Readonly<Record<string, (body: unknown) => unknown>>;
}

/** The context of a request to an engine. */
export interface GenerateContext extends RequestContext {
  /**
   * Reports that the prefill is complete. Routers then stop counting this prefill. On a decode worker a delayed `abort`
   * is delivered now. The first item with tokens reports it automatically. Call this if the first token exists long
   * before that item. Later calls have no effect.
   */
  notifyFirstToken(): void;
}

/**
 * An engine that receives tokens and generates tokens. The frontend applies the chat template, tokenizes, detokenizes,
 * finds stop strings, and parses tool calls.
 *
 * @example
 * const engine: LLMEngine = {
 *   start: () => ({ model: 'echo', llm: { contextLength: 4096 } }),
 *   async *generate(request) {
 *     for (const id of request.token_ids) yield { token_ids: [id] };
 *     yield { token_ids: [], finish_reason: 'stop' };
 *   },
 * };
 */
export interface LLMEngine extends EngineBase {
  /**
   * Generates the response to one request. Many requests run concurrently. The last item has a `finish_reason`; with
   * several choices (`n`), the last item of each choice has one. When `context.signal` is aborted, the generator should
   * end; the `cancelled` item is added automatically. An error reaches the client without its message, unless it is a
   * `DynamoError` of class `InvalidRequest`, or one with `details: {type: 'message', message}`.
   *
   * With `n` above 1, Dynamo's worker forwards the `finish_reason` of the last choice only. For the other choices the
   * frontend detects end and stop tokens itself, and reports no reason if `max_tokens` ended them.
   */
  generate(request: PreprocessedRequest, context: GenerateContext): AsyncIterable<LLMEngineOutput>;
  /** The sources of KV events for KV-aware routing, one per rank. */
  kvEventSources?(): Awaitable<readonly KvEventSource[]>;
}

/**
 * An engine whose requests and responses the frontend passes through unchanged, such as images, videos and audio. The
 * vectors of an embedding engine (model type `embedding`) may be arrays of numbers or the result of `encodeEmbedding`.
 */
export interface RawEngine<Request = unknown, Response = unknown> extends EngineBase {
  /** Generates one item, or several of which the last is the result. */
  generate(request: Request, context: RequestContext): AsyncIterable<Response>;
}
