import type { RequestContext } from '../runtime/context.js';
import type { LLMEngineOutput, PreprocessedRequest } from './protocol.js';

/** @inline */
type Awaitable<T> = T | Promise<T>;

/** What a token engine tells the router and the planner of itself. What is left out is not advertised. */
export interface LlmRegistration {
  /**
   * The longest context, in tokens, as clients are told it. Longer prompts reach the engine all the same, unless its
   * `runtimeData` has a `token_budget`: `{combined_limit, reject_prompt_overflow, reject_total_overflow}`.
   */
  readonly contextLength?: number;
  /** Tokens in a KV cache block. Without it KV-aware routing falls back to round-robin. */
  readonly kvCacheBlockSize?: number;
  /** Blocks in the KV cache. */
  readonly totalKvBlocks?: number;
  /** Most requests that run at a time. */
  readonly maxNumSeqs?: number;
  /** Most tokens of one step over all requests. */
  readonly maxNumBatchedTokens?: number;
  /** LoRA adapters that this worker has room for; a frontend with `$DYN_LORA_ENABLED` spreads them by it. @default what the adapters' own cards say */
  readonly maxGpuLoraCount?: number;
  /** Data-parallel ranks of this worker. @default 1 */
  readonly dataParallelSize?: number;
  /** @default 0 */
  readonly dataParallelStartRank?: number;
  /** KV events are keyed by pairs of tokens. @default false */
  readonly enableEagle?: boolean;
  /** Where decode workers meet this prefill worker. */
  readonly bootstrapHost?: string;
  readonly bootstrapPort?: number;
}

/** What an engine gives back from its start. */
export interface EngineConfig {
  /** The model's own name, such as its name on the model hub. */
  readonly model: string;
  /** The name that clients use. @default model */
  readonly servedModelName?: string;
  /** Further names that clients may use. */
  readonly modelAliases?: readonly string[];
  /** The engine's own data, published with the model card. */
  readonly runtimeData?: Readonly<Record<string, unknown>>;
  /** Token engines only. */
  readonly llm?: LlmRegistration;
}

/** A cache event in the crates' own form. Source: `dynamo-kv-router` `protocols.rs`. */
export interface KvCacheEvent {
  readonly event_id: number | bigint;
  readonly data:
    | {
        readonly stored: {
          /** Hash of the block before the first, or null at the start of a sequence. */
          readonly parent_hash: bigint | number | null;
          readonly start_position: number | null;
          readonly blocks: readonly {
            /** The engine's own name of the block; unique over all prefixes. */
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

/** One rank's load. */
export interface LoadSnapshot {
  readonly kvUsedBlocks: number;
  readonly kvTotalBlocks: number;
  /** 0 to 1. @default used over total */
  readonly gpuCacheUsage?: number;
  /** 0 to 1, over the last interval; left out where it was not measured. */
  readonly kvCacheHitRate?: number;
  /** @default 0 */
  readonly dpRank?: number;
}

/** The worker that an engine runs in, as it sees it. */
export interface EngineWorker {
  /** Stable while the worker lives and unique in the deployment; 0 in the conformance kit. */
  readonly workerId: bigint;
  /**
   * Publishes cache events of one rank, in order. False while the rank has no publisher: before serving, or when KV
   * routing is off.
   */
  publishKvEvents(events: readonly KvCacheEvent[], dpRank?: number): boolean;
  /** Publishes a rank's load. False while there is no publisher, as for `publishKvEvents`. */
  publishLoad(snapshot: LoadSnapshot): boolean;
}

/** Where an engine's own metrics go. */
export interface EngineMetrics {
  /** Namespace, component, endpoint, worker id and model, as Dynamo's own metrics have them. */
  readonly labels: Readonly<Record<string, string>>;
  /** Prometheus text, shown behind Dynamo's own by every scrape of `/metrics` from now on; no scrape waits for the engine. */
  setText(exposition: string): void;
}

/** Where the KV cache events of one rank come from. */
export type KvEventSource =
  /** A ZMQ publisher of the engine's own. */
  | {
      readonly kind: 'zmq';
      readonly endpoint: string;
      readonly topic?: string;
      readonly dpRank?: number;
      readonly imageTokenId?: number;
    }
  /** `EngineWorker.publishKvEvents`. */
  | { readonly kind: 'push'; readonly dpRank?: number };

/** What of an engine does not depend on what it is asked and what it answers. */
export interface EngineBase {
  /**
   * Makes the engine ready for requests: when it resolves the model is registered and served. Source:
   * `dynamo-backend-common` `engine.rs`.
   */
  start(worker: EngineWorker): Awaitable<EngineConfig>;
  /** A request was cancelled. Its `context.signal` is aborted anyway: this is for engines that have a scheduler to tell. */
  abort?(requestId: string): Awaitable<void>;
  /** The worker has left discovery and will take no new request; what runs may end. */
  drain?(): Awaitable<void>;
  /**
   * Asked of a prefill worker that is about to be cleaned up: true when nobody reads its KV blocks any more, false while
   * somebody may.
   */
  isQuiescent?(): Awaitable<boolean>;
  /** Releases everything; runs once, also after a `start` that failed. */
  cleanup?(): Awaitable<void>;
  /** Runs once, behind `start`. */
  setupMetrics?(metrics: EngineMetrics): Awaitable<void>;
  /** Ranks that call `publishLoad`. */
  readonly metricsRanks?: readonly number[];
  /**
   * Commands behind `POST /engine/control/NAME` of the status server, such as `clear_kv_blocks`. Before `pause_generation`,
   * `sleep` and `release_memory_occupation` the worker leaves discovery; behind `resume_generation`, `wake_up` and
   * `resume_memory_occupation` it comes back, unless the answer has `status: 'error'` or `is_sleeping: true`.
   */
  readonly controls?: Readonly<Record<string, (body: unknown) => unknown>>;
  /**
   * Throws where a control's body is not what it takes: asked before the worker leaves discovery for it, and answered with an
   * error. It must answer within 5 s and change nothing. Token engines only.
   */
  validateEngineControl?(name: string, body: unknown): Awaitable<void>;
  /** Commands behind `POST /engine/update/NAME` of the status server. */
  readonly updates?: Readonly<Record<string, (body: unknown) => unknown>>;
}

/** What an engine knows of a request beside the request itself. */
export interface GenerateContext extends RequestContext {
  /**
   * Says that the prefill is over: routers then count it no more, and a decode worker lets `abort`, held back until then,
   * come. The first item with tokens says so by itself; call it where the first token is there long before that. Once is
   * enough, more do no harm.
   */
  notifyFirstToken(): void;
}

/**
 * An engine that gets tokens and gives tokens. The frontend applies the chat template, tokenizes, detokenizes, finds stop
 * strings, and parses tool calls.
 *
 * @example
 * const engine: LLMEngine = {
 *   start: () => ({ model: 'parrot', llm: { contextLength: 4096 } }),
 *   async *generate(request) {
 *     for (const id of request.token_ids) yield { token_ids: [id] };
 *     yield { token_ids: [], finish_reason: 'stop' };
 *   },
 * };
 */
export interface LLMEngine extends EngineBase {
  /**
   * Answers one request; many run at a time. The last item has a `finish_reason`, and with `n` answers the last of each.
   * When `context.signal` is aborted the generator should end: the `cancelled` item is added for it. What it throws reaches
   * the client as an error, its words only with `details: {type: 'message', message}` of a `DynamoError`.
   *
   * With `n` above 1 Dynamo's worker passes on the last answer's `finish_reason` alone; of the others the frontend sees an
   * end or stop token for itself, and shows no reason where `max_tokens` ended them.
   */
  generate(request: PreprocessedRequest, context: GenerateContext): AsyncIterable<LLMEngineOutput>;
  /** KV events for KV-aware routing, one source a rank. */
  kvEventSources?(): Awaitable<readonly KvEventSource[]>;
}

/** An engine whose requests and answers the frontend hands through as they are: images, videos, audio. */
export interface RawEngine<Request = unknown, Response = unknown> extends EngineBase {
  /** Answers with one item, or several whose last is the result. */
  generate(request: Request, context: RequestContext): AsyncIterable<Response>;
}
