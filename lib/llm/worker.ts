import { packArgs, packValue, textBytes } from '../addon/codec.js';
import { Inbox } from '../addon/inbox.js';
import { arg, invoke, invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { checkInstance, checkNames, checkOneOf, checkString } from '../check.js';
import { ClosedError } from '../errors.js';
import type { BlockEventSource } from '../kvbm/events.js';
import {
  anything,
  boolean,
  callback,
  custom,
  defined,
  integer,
  milliseconds,
  type Option,
  type OptionTable,
  oneOf,
  optionTable,
  stringMap,
  text,
} from '../options.js';
import { KvPublisher } from '../router/kv-publisher.js';
import { WORKER_TYPES, type WorkerType } from '../router/worker-type.js';
import { type CloseOptions, closeOptions } from '../runtime/close-options.js';
import { Endpoint } from '../runtime/endpoint.js';
import { realModelPath } from '../runtime/paths.js';
import { type CardConflict, CardConflicts } from './card-conflicts.js';
import { encodedEmbeddings } from './embeddings.js';
import type { KvCacheEvent, LLMEngine, LoadSnapshot, RawEngine } from './engine.js';
import { EngineHost, type Publishing, traitsOf } from './engine-host.js';
import { refuseTransferParams } from './kv-transfer.js';
import {
  chatTemplateRow,
  crateObject,
  MODEL_INPUTS,
  type ModelInput,
  type ModelType,
  modelParsers,
  modelPathRow,
  modelTypesRow,
} from './model.js';

/** How an engine is served. */
export interface ServeEngineOptions {
  /**
   * The model's folder in Hugging Face layout (config, tokenizer, chat template; no weights needed), or its name on the
   * model hub. Without it, the card contains only the name, no tokenizer and no template.
   */
  readonly modelPath?: string;
  /** The name that clients use. @default the name in the result of the engine's `start` */
  readonly modelName?: string;
  /** APIs on which the model is offered. @default ['chat', 'completions'] */
  readonly modelTypes?: readonly ModelType[];
  /** @default 'tokens' for an LLMEngine, 'text' for a RawEngine */
  readonly modelInput?: ModelInput;
  /**
   * The part of a request that the worker does. A prefill worker receives requests for one token. Its last item has
   * `finish_reason` `length`; any other reason ends the client's response. That item also has the
   * `disaggregated_params`, which the decode worker receives as `prefill_result`.
   * @default 'aggregated'
   */
  readonly workerType?: WorkerType;
  /** The engine receives requests and returns responses in the format of the frontend: a `RawEngine`. @default false */
  readonly raw?: boolean;
  /** For prefill and aggregated workers: media go through an encode worker first. @default false */
  readonly routeToEncoder?: boolean;
  /** A Jinja file that replaces the model's own chat template. */
  readonly chatTemplate?: string;
  /** The parser of tool calls in the model's text: one of `modelParsers().toolCall`, such as `hermes`. */
  readonly toolCallParser?: string;
  /** The parser of reasoning in the model's text: one of `modelParsers().reasoning`, such as `deepseek_r1`. */
  readonly reasoningParser?: string;
  /** The thinking mode that the chat template gets if the client does not choose one. @default none */
  readonly defaultThinkingMode?: 'enabled' | 'disabled';
  /**
   * Requests with `kv_transfer_params`, which select the memory that a worker reads: they are refused with
   * `DYN_INVALID_REQUEST` (HTTP 400), or reach the engine. The result of a prefill worker is not one of them.
   * @default 'refuse'
   */
  readonly kvTransferParams?: 'refuse' | 'accept';
  /** Hide the tools from the chat template if `tool_choice` is `none`. @default true */
  readonly excludeToolsWhenToolChoiceNone?: boolean;
  /** Keep an index of this worker's own KV blocks, from which routers recover lost events. @default true */
  readonly localIndexer?: boolean;
  /** Publish KV events and load for routers. @default true */
  readonly kvRouting?: boolean;
  /** The endpoint on which KV events are published, `namespace.component.endpoint`. @default the served endpoint */
  readonly kvStateEndpoint?: string;
  /**
   * Called when `worker.cardConflicts` changes. Its first error is reported as a warning `DYN_CALLBACK_FAILED` of the
   * process.
   */
  readonly onCardConflicts?: (conflicts: readonly CardConflict[]) => unknown;
  /** Publish the contents of these block managers for routers. Replaces `engine.kvEventSources`. */
  readonly kvBlocks?: BlockEventSource | readonly [BlockEventSource, ...BlockEventSource[]];
  readonly metricsLabels?: Readonly<Record<string, string>>;
  /** A request that the health canary sends to check whether the engine answers. */
  readonly healthCheck?: unknown;
  /**
   * `StructuralTagConfig`, with the field names of the crates. A frontend that does not support it hides the model and
   * only logs the reason: `exclude_special_tokens`, `tool_arguments_any_order` and
   * `allow_tool_calls_with_structured_output` need `$DYN_PARSER_VERSION=2` on the frontend, and a tool-call parser of
   * that version.
   */
  readonly structuralTag?: Readonly<Record<string, unknown>>;
  /** `MediaDecoder`, with the field names and defaults of the crates. The frontend then decodes media. */
  readonly mediaDecoder?: Readonly<Record<string, unknown>>;
  /** `MediaFetcher`, with the field names and defaults of the crates. */
  readonly mediaFetcher?: Readonly<Record<string, unknown>>;
  /** The maximum number of requests that run concurrently; others wait. @default 1024 */
  readonly concurrency?: number;
  /**
   * The maximum number of requests that wait. A further one fails with `DYN_CAPACITY_EXHAUSTED`, which another worker
   * may accept. The metric `queue_rejected_total` counts them. @default 1024
   */
  readonly maxQueued?: number;
  /** The maximum size of the requests that wait, together. @default 67108864 */
  readonly maxQueuedBytes?: number;
  /** Unread bytes of a response above which the engine is paused. @default 1048576 */
  readonly highWaterBytes?: number;
  /**
   * Time at close for the running requests and for the engine's `cleanup`, together. At most four fifths of
   * `$DYN_WORKER_GRACEFUL_SHUTDOWN_TIMEOUT` (30 s), after which Dynamo ends the process. @default that maximum
   */
  readonly cleanupTimeoutMs?: number;
}

/** Dynamo detects an unknown parser only in the middle of a request. */
function parser(kind: 'toolCall' | 'reasoning'): Option<string> {
  return custom(`one of modelParsers().${kind}`, (path, name) => checkOneOf(path, name, modelParsers()[kind]), 'text');
}

/** Source: `StructuralTagConfig::from_value_strict` in `dynamo-llm`. The crates ignore an unknown field silently. */
const STRUCTURAL_TAG = [
  'scope',
  'schema',
  'allow_tool_calls_with_structured_output',
  'exclude_special_tokens',
  'reasoning_boundary',
  'tool_arguments_any_order',
];

/** @internal */
export const SERVE_ENGINE_OPTIONS: OptionTable<ServeEngineOptions> = optionTable<ServeEngineOptions>({
  modelPath: modelPathRow,
  modelName: text.about('The name that clients use.'),
  modelTypes: modelTypesRow,
  modelInput: oneOf(...MODEL_INPUTS).about('What the engine receives: text, tokens or tensors.'),
  workerType: oneOf(...WORKER_TYPES).about('The part of a request that the worker does.'),
  raw: boolean.about('The engine receives requests in the format of the frontend.'),
  routeToEncoder: boolean.about('Media go through an encode worker first.'),
  chatTemplate: chatTemplateRow,
  toolCallParser: parser('toolCall').about("The parser of tool calls in the model's text."),
  reasoningParser: parser('reasoning').about("The parser of reasoning in the model's text."),
  // Frontends ignore any other value, with a warning at each request.
  defaultThinkingMode: oneOf('enabled', 'disabled').about('The thinking mode if the client does not choose one.'),
  excludeToolsWhenToolChoiceNone: boolean.about('Hide the tools from the chat template if tool_choice is none.'),
  kvTransferParams: oneOf('refuse', 'accept').about('Requests whose client sets kv_transfer_params.'),
  localIndexer: boolean.about("Keep an index of this worker's own KV blocks, from which routers recover lost events."),
  kvRouting: boolean.about('Publish KV events and load for routers.'),
  kvStateEndpoint: text.about('The endpoint on which KV events are published.'),
  // `KvPublisher.create` checks it.
  kvBlocks: custom<NonNullable<ServeEngineOptions['kvBlocks']>>('a block manager, or a list of them', () => {}).about(
    'Block managers whose contents are published for routers.',
  ),
  onCardConflicts: callback<NonNullable<ServeEngineOptions['onCardConflicts']>>().about(
    'Called when other workers have, or no longer have, model cards that exclude this one.',
  ),
  metricsLabels: stringMap.about("Labels added to the endpoint's metrics."),
  healthCheck: anything.about('A request that the health canary sends.'),
  structuralTag: custom<Readonly<Record<string, unknown>>>('an object', (path, tag) =>
    checkNames(path, tag, STRUCTURAL_TAG),
  ).about('StructuralTagConfig, with the field names of the crates.'),
  mediaDecoder: crateObject.about('MediaDecoder, with the field names of the crates.'),
  mediaFetcher: crateObject.about('MediaFetcher, with the field names of the crates.'),
  concurrency: integer(1).about('The maximum number of requests that run concurrently.'),
  maxQueued: integer(0).about('The maximum number of requests that wait.'),
  maxQueuedBytes: integer(0).about('The maximum size of the requests that wait, together.'),
  highWaterBytes: integer(1).about('Unread bytes of a response above which the engine is paused.'),
  cleanupTimeoutMs: milliseconds(1).about('Time at close for running requests and for the cleanup of the engine.'),
});

const OPERATION = 'serveEngine';
const CLOSE_OPTIONS: OptionTable<CloseOptions> = closeOptions(0);

/** A worker that serves an engine. It keeps the process alive until `close`. */
export class ServedEngine implements AsyncDisposable {
  readonly #handle: Handle<'worker'>;
  readonly #host: EngineHost;
  readonly #inbox: Inbox;
  readonly #conflicts: CardConflicts;
  #closing: Promise<void> | undefined;
  /** Resolves when the engine has started and requests can reach it. Rejects with the reason if it cannot start. */
  readonly ready: Promise<void>;
  /** Settles when the worker has ended. Rejects with the reason if it ended without a `close`. */
  readonly ended: Promise<void>;
  /** Publishes the contents of `kvBlocks`. Its `failed` has the reason if that ended. The worker closes it. */
  readonly kvPublisher: KvPublisher | undefined;

  /** @internal */
  constructor(
    handle: Handle<'worker'>,
    inbox: Handle<'inbox'>,
    host: EngineHost,
    concurrency: number,
    conflicts: CardConflicts,
    blocks?: KvPublisher,
  ) {
    this.#handle = handle;
    this.#host = host;
    this.kvPublisher = blocks;
    this.#conflicts = conflicts;
    this.#inbox = new Inbox(inbox, host, { concurrency });
    void this.#inbox.ended.then(() => host.cancelAll());
    this.ready = invoke(native.workerReady, `${OPERATION} ready`, { handle });
    this.ended = invoke(native.workerWait, OPERATION, { handle });
    this.ready.catch(() => {});
    this.ended.catch(() => {}).finally(() => conflicts.close());
  }

  /**
   * Workers of the same model, endpoint and worker type whose model cards differ from this one's. A frontend sends
   * requests only to the workers whose cards equal the first one that it saw. Each kind of conflict is also reported as
   * a warning `DYN_CARD_CONFLICT` of the process, and the metric `model_card_conflicts` counts them.
   */
  get cardConflicts(): readonly CardConflict[] {
    return this.#conflicts.current;
  }

  /** Requests running now. */
  get inFlight(): number {
    return this.#host.inFlight;
  }

  /**
   * Leaves discovery, waits until routers have noticed (`$DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS`, 5 s), waits for
   * running requests, and cleans up the engine. `timeoutMs` bounds how long requests may still run. Idempotent. From
   * then on the runtime's `/health` reports not ready. The endpoint's name stays reserved on this runtime.
   */
  async close(options: CloseOptions = {}): Promise<void> {
    CLOSE_OPTIONS.check('worker.close options', options);
    this.#closing ??= this.#close(options.timeoutMs);
    return this.#closing;
  }

  async #close(timeoutMs: number | undefined): Promise<void> {
    const timer = timeoutMs === undefined ? undefined : setTimeout(() => this.#cancelAll(), timeoutMs);
    try {
      await invoke(native.workerClose, 'worker.close', { handle: this.#handle });
    } finally {
      clearTimeout(timer);
      await this.kvPublisher?.close();
    }
  }

  /** The requests that wait are delivered too, so that their callers get an answer. */
  #cancelAll(): void {
    this.#host.cancelAll();
    this.#inbox.lift();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/**
 * Serves an engine on an endpoint: starts it, registers its model, and answers the requests of frontends and routers.
 *
 * @example
 * const worker = await serveEngine(runtime.endpoint('dynamo.backend.generate'), engine, { modelPath: './my-model' });
 * await worker.ready;
 * @throws DynamoError `DYN_CONFLICT` if the runtime already serves an endpoint of this name
 */
export async function serveEngine(
  endpoint: Endpoint,
  engine: LLMEngine | RawEngine,
  options: ServeEngineOptions = {},
): Promise<ServedEngine> {
  checkInstance(`${OPERATION} endpoint`, endpoint, Endpoint);
  SERVE_ENGINE_OPTIONS.check(`${OPERATION} options`, options);
  const { concurrency = 1024, metricsLabels, kvBlocks: _, kvTransferParams, onCardConflicts, ...rest } = options;
  const args = packValue(
    OPERATION,
    'options',
    {
      ...defined({ ...rest, modelPath: rest.modelPath && realModelPath(rest.modelPath) }),
      metricsLabels: Object.entries(metricsLabels ?? {}),
      engine: traitsOf(`${OPERATION} engine`, engine),
    },
    packArgs,
  );
  let worker: Handle<'worker'> | undefined;
  const publishing: Publishing = {
    publishKv: (events: readonly KvCacheEvent[], dpRank: number) => {
      const handle = started(worker);
      return (
        invokeSync(native.workerPublishKv, 'worker.publishKvEvents', {
          handle,
          payload: packValue('worker.publishKvEvents', 'the events', events, packArgs),
          a: arg('dpRank', dpRank),
        }) === 0
      );
    },
    publishLoad: (snapshot: LoadSnapshot) => {
      const handle = started(worker);
      return invokeSync(native.workerPublishLoad, 'worker.publishLoad', { handle, args: packArgs(snapshot) }) === 0;
    },
    metricsText: (exposition: string) => {
      checkString('engine metrics setText', exposition);
      invokeSync(native.workerMetricsText, 'engine metrics setText', {
        handle: started(worker),
        payload: textBytes(exposition),
      });
    },
  };
  const { raw = false, modelTypes = [] } = options;
  const wire = raw && modelTypes.includes('embedding') ? encodedEmbeddings : undefined;
  const check = kvTransferParams === 'accept' ? undefined : refuseTransferParams;
  const host = new EngineHost(() => engine, raw, publishing, wire, check);
  const blocks = await publishBlocks(endpoint, options);
  try {
    const [, handle, inbox] = await invoke(native.workerStart, OPERATION, { handle: endpoint.handle(OPERATION), args });
    worker = handle;
    const conflicts = new CardConflicts(endpoint, { changed: onCardConflicts, blockSize: blocks?.blockSize });
    return new ServedEngine(handle, inbox, host, concurrency, conflicts, blocks);
  } catch (error) {
    await blocks?.close();
    throw error;
  }
}

async function publishBlocks(endpoint: Endpoint, options: ServeEngineOptions): Promise<KvPublisher | undefined> {
  const { kvBlocks, localIndexer, kvStateEndpoint } = options;
  if (kvBlocks === undefined) return undefined;
  const { blockSize } = 'events' in kvBlocks ? kvBlocks : kvBlocks[0];
  return KvPublisher.create(endpoint, { blockSize, blocks: kvBlocks, ...defined({ localIndexer, kvStateEndpoint }) });
}

function started(worker: Handle<'worker'> | undefined): Handle<'worker'> {
  if (worker === undefined) throw new ClosedError('the worker', OPERATION);
  return worker;
}
