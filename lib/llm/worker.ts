import { packArgs, packValue, textBytes } from '../addon/codec.js';
import { Inbox } from '../addon/inbox.js';
import { invoke, invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import {
  checkBoolean,
  checkClose,
  checkInstance,
  checkInteger,
  checkObject,
  checkOneOf,
  checkOptions,
  checkString,
  checkStringMap,
  MAX_TIMEOUT_MS,
} from '../check.js';
import { ClosedError } from '../errors.js';
import type { BlockEventSource } from '../kvbm/events.js';
import { defined } from '../options.js';
import { KvPublisher } from '../router/kv-publisher.js';
import { Endpoint } from '../runtime/endpoint.js';
import { checkModelPath, checkPath } from '../runtime/paths.js';
import type { KvCacheEvent, LLMEngine, LoadSnapshot, RawEngine } from './engine.js';
import { EngineHost, type Publishing, traitsOf } from './engine-host.js';
import {
  checkModelTypes,
  checkParsers,
  MODEL_INPUTS,
  type ModelInput,
  type ModelType,
  WORKER_TYPES,
  type WorkerType,
} from './model.js';

/** How an engine is served. */
export interface ServeEngineOptions {
  /**
   * The model's folder in Hugging Face layout (config, tokenizer, chat template; no weights needed), or its name on the
   * model hub. Left out, the card has the name alone, without tokenizer and template.
   */
  readonly modelPath?: string;
  /** The name that clients use. @default what the engine's `start` gives */
  readonly modelName?: string;
  /** APIs that the model is offered on. @default ['chat', 'completions'] */
  readonly modelTypes?: readonly ModelType[];
  /** @default 'tokens' for an LLMEngine, 'text' for a RawEngine */
  readonly modelInput?: ModelInput;
  /**
   * The worker's part of a request. A prefill worker is asked for one token, ends with `finish_reason` `length` (any other
   * ends the client's answer with it), and gives with it the `disaggregated_params` that the decode worker gets as
   * `prefill_result`. @default 'aggregated'
   */
  readonly workerType?: WorkerType;
  /** The engine takes requests and gives answers as the frontend has them: a `RawEngine`. @default false */
  readonly raw?: boolean;
  /** Prefill and aggregated workers: media go through an encode worker first. @default false */
  readonly routeToEncoder?: boolean;
  /** A Jinja file in place of the model's own chat template. */
  readonly chatTemplate?: string;
  /** The parser of tool calls in the model's text, one of `modelParsers().toolCall`, such as `hermes`. */
  readonly toolCallParser?: string;
  /** The parser of reasoning in the model's text, one of `modelParsers().reasoning`, such as `deepseek_r1`. */
  readonly reasoningParser?: string;
  /** What the chat template is told of thinking where the client says nothing of it. @default nothing */
  readonly defaultThinkingMode?: 'enabled' | 'disabled';
  /** @default true */
  readonly excludeToolsWhenToolChoiceNone?: boolean;
  /** Keep an index of this worker's own KV blocks, from which routers recover lost events. @default true */
  readonly localIndexer?: boolean;
  /** Publish KV events and load for routers. @default true */
  readonly kvRouting?: boolean;
  /** The endpoint on which KV events travel, `namespace.component.endpoint`. @default the served one */
  readonly kvStateEndpoint?: string;
  /** Publish what these block managers hold: routers then know it. In place of `engine.kvEventSources`. */
  readonly kvBlocks?: BlockEventSource | readonly [BlockEventSource, ...BlockEventSource[]];
  readonly metricsLabels?: Readonly<Record<string, string>>;
  /** A request that the canary sends to see whether the engine answers. */
  readonly healthCheck?: unknown;
  /**
   * `StructuralTagConfig` in the crates' own field names. A frontend that cannot do what it asks for leaves the model out and
   * says so in its log alone: `exclude_special_tokens`, `tool_arguments_any_order` and
   * `allow_tool_calls_with_structured_output` need its `$DYN_PARSER_VERSION=2`, and a tool-call parser that this has.
   */
  readonly structuralTag?: Readonly<Record<string, unknown>>;
  /** `MediaDecoder` and `MediaFetcher` in the crates' own field names, each with its defaults: the frontend decodes media. */
  readonly mediaDecoder?: Readonly<Record<string, unknown>>;
  readonly mediaFetcher?: Readonly<Record<string, unknown>>;
  /** Requests that run at a time; others wait. @default 1024 */
  readonly concurrency?: number;
  /** Bytes that an answer may hold unread before the engine is made to wait. @default 1048576 */
  readonly highWaterBytes?: number;
  /**
   * Time at closing for the requests that still run and for the engine's `cleanup`, together. At most four fifths of
   * `$DYN_WORKER_GRACEFUL_SHUTDOWN_TIMEOUT` (30 s), after which Dynamo ends the process. @default that most
   */
  readonly cleanupTimeoutMs?: number;
}

const OPERATION = 'serveEngine';
const PATH = `${OPERATION} options`;
const STRINGS = ['modelPath', 'modelName', 'chatTemplate', 'toolCallParser', 'reasoningParser', 'kvStateEndpoint'];
const BOOLEANS = ['raw', 'routeToEncoder', 'excludeToolsWhenToolChoiceNone', 'localIndexer', 'kvRouting'];
const OBJECTS = ['structuralTag', 'mediaDecoder', 'mediaFetcher'];
/** Source: `StructuralTagConfig::from_value_strict` in `dynamo-llm`. What it does not know the crates would pass over in silence. */
const STRUCTURAL_TAG = [
  'scope',
  'schema',
  'allow_tool_calls_with_structured_output',
  'exclude_special_tokens',
  'reasoning_boundary',
  'tool_arguments_any_order',
];
const KNOWN = [
  ...STRINGS,
  ...BOOLEANS,
  ...OBJECTS,
  'modelTypes',
  'modelInput',
  'workerType',
  'defaultThinkingMode',
  'kvBlocks',
  'metricsLabels',
  'healthCheck',
  'concurrency',
  'highWaterBytes',
  'cleanupTimeoutMs',
];

function check(options: ServeEngineOptions): void {
  checkOptions(PATH, options, KNOWN);
  const values = options as Record<string, unknown>;
  for (const name of STRINGS) if (values[name] !== undefined) checkString(`${PATH}.${name}`, values[name]);
  if (options.modelPath !== undefined) checkModelPath(`${PATH}.modelPath`, options.modelPath);
  if (options.chatTemplate !== undefined) checkPath(`${PATH}.chatTemplate`, options.chatTemplate);
  for (const name of BOOLEANS) if (values[name] !== undefined) checkBoolean(`${PATH}.${name}`, values[name]);
  for (const name of OBJECTS) if (values[name] !== undefined) checkObject(`${PATH}.${name}`, values[name]);
  checkParsers(PATH, { toolCall: options.toolCallParser, reasoning: options.reasoningParser });
  const { modelTypes, modelInput, workerType, defaultThinkingMode, structuralTag, metricsLabels } = options;
  if (structuralTag !== undefined) checkObject(`${PATH}.structuralTag`, structuralTag, STRUCTURAL_TAG);
  // Frontends pass over another word, with a warning at each request.
  if (defaultThinkingMode !== undefined)
    checkOneOf(`${PATH}.defaultThinkingMode`, defaultThinkingMode, ['enabled', 'disabled']);
  if (modelTypes !== undefined) checkModelTypes(`${PATH}.modelTypes`, modelTypes);
  if (modelInput !== undefined) checkOneOf(`${PATH}.modelInput`, modelInput, MODEL_INPUTS);
  if (workerType !== undefined) checkOneOf(`${PATH}.workerType`, workerType, WORKER_TYPES);
  if (metricsLabels !== undefined) checkStringMap(`${PATH}.metricsLabels`, metricsLabels);
  for (const name of ['concurrency', 'highWaterBytes', 'cleanupTimeoutMs']) {
    if (values[name] !== undefined)
      checkInteger(`${PATH}.${name}`, values[name], 1, name === 'cleanupTimeoutMs' ? MAX_TIMEOUT_MS : undefined);
  }
}

/** A worker that serves an engine. It keeps the process alive until it is closed. */
export class ServedEngine implements AsyncDisposable {
  readonly #handle: Handle;
  readonly #host: EngineHost;
  #closing: Promise<void> | undefined;
  /** Resolves once the engine has started and requests can reach it; rejects with what kept it from that. */
  readonly ready: Promise<void>;
  /** Settles when the worker has ended; rejects with what ended it unasked. */
  readonly ended: Promise<void>;
  /** Publishes what `kvBlocks` hold; its `failed` tells what ended that. The worker closes it. */
  readonly kvPublisher: KvPublisher | undefined;

  /** @internal */
  constructor(handle: Handle, inbox: Handle, host: EngineHost, blocks?: KvPublisher) {
    this.#handle = handle;
    this.#host = host;
    this.kvPublisher = blocks;
    void new Inbox(inbox, host, { concurrency: Number.POSITIVE_INFINITY }).ended.then(() => host.cancelAll());
    this.ready = invoke(native.workerReady, `${OPERATION} ready`, { handle });
    this.ended = invoke(native.workerWait, OPERATION, { handle });
    this.ready.catch(() => {});
    this.ended.catch(() => {});
  }

  /** Requests running now. */
  get inFlight(): number {
    return this.#host.inFlight;
  }

  /**
   * Leaves discovery, waits for routers to notice (`$DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS`, 5 s), lets running requests
   * end, cleans the engine up. `timeoutMs` bounds how long requests may still run. Idempotent. The runtime's `/health` says
   * not ready from here on; the endpoint's name stays taken on this runtime.
   */
  async close(options: { readonly timeoutMs?: number } = {}): Promise<void> {
    const timeoutMs = checkClose('worker.close', options, 0);
    this.#closing ??= this.#close(timeoutMs);
    return this.#closing;
  }

  async #close(timeoutMs: number | undefined): Promise<void> {
    const timer = timeoutMs === undefined ? undefined : setTimeout(() => this.#host.cancelAll(), timeoutMs);
    try {
      await invoke(native.workerClose, 'worker.close', { handle: this.#handle });
    } finally {
      clearTimeout(timer);
      await this.kvPublisher?.close();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/**
 * Serves an engine on an endpoint: starts it, registers its model, and answers requests that frontends and routers send.
 *
 * @example
 * const worker = await serveEngine(runtime.endpoint('dynamo.backend.generate'), engine, { modelPath: './my-model' });
 * await worker.ready;
 * @throws DynamoError `DYN_CONFLICT` where the runtime serves an endpoint of this name already
 */
export async function serveEngine(
  endpoint: Endpoint,
  engine: LLMEngine | RawEngine,
  options: ServeEngineOptions = {},
): Promise<ServedEngine> {
  checkInstance(`${OPERATION} endpoint`, endpoint, Endpoint);
  check(options);
  const { concurrency = 1024, metricsLabels, kvBlocks: _, ...rest } = options;
  const args = packValue(
    OPERATION,
    'options',
    {
      ...defined(rest),
      metricsLabels: Object.entries(metricsLabels ?? {}),
      engine: traitsOf(`${OPERATION} engine`, engine),
    },
    packArgs,
  );
  let worker: Handle | undefined;
  const publishing: Publishing = {
    publishKv: (events: readonly KvCacheEvent[], dpRank: number) => {
      const handle = started(worker);
      return (
        invokeSync(native.workerPublishKv, 'worker.publishKvEvents', {
          handle,
          payload: packValue('worker.publishKvEvents', 'the events', events, packArgs),
          a: dpRank,
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
  const host = new EngineHost(() => engine, options.raw === true, publishing, concurrency);
  const blocks = await publishBlocks(endpoint, options);
  try {
    const [, handle, inbox] = await invoke(native.workerStart, OPERATION, { handle: endpoint.handle(OPERATION), args });
    worker = handle;
    return new ServedEngine(handle, inbox, host, blocks);
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

function started(worker: Handle | undefined): Handle {
  if (worker === undefined) throw new ClosedError('the worker', OPERATION);
  return worker;
}
