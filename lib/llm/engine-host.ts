import { mistake, packArgs, packItem, unpack } from '../addon/codec.js';
import { finish } from '../addon/finish.js';
import type { InboxHandler, InboxRequest } from '../addon/inbox.js';
import { pump } from '../addon/pump.js';
import type { Sink } from '../addon/sink.js';
import { checkArray, checkFunction, checkInteger, checkObject, isAsyncIterable, MAX_U32 } from '../check.js';
import { DynamoError, type Failure, failureFrom, shown } from '../errors.js';
import { defined } from '../options.js';
import { runInContext, ServedContext } from '../runtime/context.js';
import { checkSize } from '../runtime/limits.js';
import type {
  EngineBase,
  EngineConfig,
  EngineWorker,
  GenerateContext,
  KvCacheEvent,
  LLMEngine,
  LoadSnapshot,
  RawEngine,
} from './engine.js';
import type { LLMEngineOutput, PreprocessedRequest } from './protocol.js';
import { servedRequests } from './served-requests.js';

/** What an engine implements, for the native side. Source: `EngineTraits` of `native/core/src/llm/registration.rs`. */
export interface EngineTraits {
  readonly methods: readonly string[];
  readonly controls: readonly string[];
  readonly updates: readonly string[];
  readonly metricsRanks: readonly number[];
}

/** The metadata key with the index of the engine that a request is for. */
const ENGINE_KEY = '\0engine';

const METHODS = [
  'abort',
  'drain',
  'isQuiescent',
  'cleanup',
  'kvEventSources',
  'setupMetrics',
  'validateEngineControl',
] as const;

export function traitsOf(path: string, engine: EngineBase): EngineTraits {
  const methods = engine as unknown as Record<string, unknown>;
  checkObject(path, engine);
  for (const method of ['start', 'generate', ...METHODS.filter((name) => methods[name] !== undefined)])
    checkFunction(`${path}.${method}`, methods[method]);
  for (const [table, commands] of Object.entries({ controls: engine.controls, updates: engine.updates })) {
    if (commands === undefined) continue;
    checkObject(`${path}.${table}`, commands);
    for (const [name, command] of Object.entries(commands)) checkFunction(`${path}.${table}.${name}`, command);
  }
  if (engine.metricsRanks !== undefined) checkArray(`${path}.metricsRanks`, engine.metricsRanks, 'ranks');
  engine.metricsRanks?.forEach((rank, index) => checkInteger(`${path}.metricsRanks[${index}]`, rank, 0, MAX_U32));
  return {
    methods: METHODS.filter((method) => methods[method] !== undefined),
    controls: Object.keys(engine.controls ?? {}),
    updates: Object.keys(engine.updates ?? {}),
    metricsRanks: engine.metricsRanks ?? [],
  };
}

/** Publishes an engine's events, load and metrics. */
export interface Publishing {
  publishKv(events: readonly KvCacheEvent[], dpRank: number): boolean;
  publishLoad(snapshot: LoadSnapshot): boolean;
  metricsText(exposition: string): void;
}

class EngineContext extends ServedContext implements GenerateContext {
  constructor(
    id: string,
    metadata: Readonly<Record<string, string>>,
    private readonly sink: Sink,
  ) {
    super(id, metadata);
  }

  notifyFirstToken(): void {
    this.sink.notify();
  }
}

type AnyEngine = LLMEngine | RawEngine;
type Generation = AsyncIterator<unknown>;

interface Running {
  readonly context: ServedContext;
  generation?: Generation;
}

/** Answers the calls of the native side to an engine. */
export class EngineHost implements InboxHandler {
  readonly #engines: AnyEngine[] = [];
  readonly #running = new Map<number, Running>();
  #ended = false;

  /**
   * `make` creates the engine of an index: a worker has one engine, the conformance kit several. `wire` converts an
   * item to the format of the crates. Generations wait in the native inbox. Other calls, such as `drain` and controls,
   * need no capacity and never wait.
   */
  constructor(
    private readonly make: (index: number) => AnyEngine,
    private readonly raw: boolean,
    private readonly publishing: Publishing,
    private readonly wire: (item: unknown) => unknown = raw ? (item) => item : wireOutput,
    /** Refuses requests by throwing. */
    private readonly check: (request: unknown) => void = () => {},
  ) {}

  /** Generations running now. */
  get inFlight(): number {
    return this.#running.size;
  }

  async request(request: InboxRequest): Promise<void> {
    try {
      const { [ENGINE_KEY]: index = '0', ...metadata } = request.metadata;
      const engine = (this.#engines[Number(index)] ??= this.make(Number(index)));
      if (request.method === 'generate') await this.#generateIfOpen(engine, request, metadata);
      else
        await request.sink.write(
          packItem(`engine.${request.method}`, 'the result', await this.#call(engine, request), packArgs),
          false,
          true,
        );
    } catch (error) {
      request.sink.end(engineFailure(error));
    }
  }

  async #call(engine: AnyEngine, { method, payload }: InboxRequest): Promise<unknown> {
    const argument = payload.byteLength === 0 ? undefined : unpack(payload);
    switch (method) {
      case 'start':
        return registration(await engine.start(this.#worker((argument as { workerId: number | bigint }).workerId)));
      case 'abort':
        return engine.abort?.(argument as string);
      case 'drain':
        return engine.drain?.();
      case 'isQuiescent':
        return engine.isQuiescent?.();
      case 'cleanup':
        return engine.cleanup?.();
      case 'kvEventSources':
        return (engine as LLMEngine).kvEventSources?.();
      case 'setupMetrics': {
        const setText = (exposition: string): void => this.publishing.metricsText(exposition);
        return engine.setupMetrics?.({ labels: argument as Record<string, string>, setText });
      }
      case 'validateEngineControl': {
        const { name, body } = argument as { name: string; body: unknown };
        return engine.validateEngineControl?.(name, body);
      }
      case 'control':
      case 'update': {
        const { name, body } = argument as { name: string; body: unknown };
        const command = (method === 'control' ? engine.controls : engine.updates)?.[name];
        return (await command?.(body)) ?? { status: 'success' };
      }
      default:
        throw new Error(`engine.${method}: unknown method; the addon and the library have different versions`);
    }
  }

  #worker(workerId: number | bigint): EngineWorker {
    const { publishing } = this;
    return {
      workerId: BigInt(workerId),
      publishKvEvents: (events, dpRank = 0) => publishing.publishKv(events, dpRank),
      publishLoad: (snapshot) => publishing.publishLoad(snapshot),
    };
  }

  async #generateIfOpen(engine: AnyEngine, request: InboxRequest, metadata: Record<string, string>): Promise<void> {
    if (!this.#ended) return await this.#generate(engine, request, metadata);
    throw new DynamoError('Unavailable', 'the worker is closing', { reason: 'backend.engine_shutdown' });
  }

  async #generate(engine: AnyEngine, request: InboxRequest, metadata: Record<string, string>): Promise<void> {
    const { sink } = request;
    const context = new EngineContext(request.requestId, metadata, sink);
    const running: Running = { context };
    this.#running.set(request.id, running);
    const record = servedRequests.begin(context.id);
    try {
      const body = this.raw ? unpack(request.payload) : preprocessed(request.payload);
      this.check(body);
      const items = runInContext(context, () => (engine as RawEngine).generate(body, context));
      if (!isAsyncIterable(items))
        throw mistake('engine.generate', `engine.generate: expected an async iterable, got ${shown(items)}`);
      const generation = items[Symbol.asyncIterator]() as Generation;
      running.generation = generation;
      const write = (value: unknown): boolean | Promise<boolean> => {
        record?.item(value);
        return sink.write(this.#packed(value));
      };
      const complete = await runInContext(context, () => pump(generation, write));
      if (complete) sink.end();
      else finish(generation);
    } finally {
      record?.end();
      this.#running.delete(request.id);
    }
  }

  #packed(value: unknown): Uint8Array {
    const item = packItem('engine.generate', 'an item', this.wire(value));
    checkSize('engine.generate', 'an item', item.byteLength);
    return item;
  }

  lost(id: number, kind: 'stopped' | 'killed'): void {
    const running = this.#running.get(id);
    if (running === undefined) return;
    running.context.cancel(kind);
    // A stopped generation may still emit its last item; only one without a reader is returned early.
    if (kind === 'killed' && running.generation !== undefined) finish(running.generation);
  }

  /** Cancels all generations, now and later: the worker is closing and the time to complete is over. */
  cancelAll(): void {
    this.#ended = true;
    for (const { context, generation } of this.#running.values()) {
      context.cancel('shutdown');
      if (generation !== undefined) finish(generation);
    }
  }
}

/**
 * The failure of an engine. Frontends show clients only the details of an error. The message of an invalid request is
 * for the client, unless a call of this package made the error: that one is about a call that the client did not make.
 */
function engineFailure(error: unknown): Failure {
  const failure = failureFrom(error);
  if (failure.class !== 'InvalidRequest' || failure.details !== undefined) return failure;
  if (!DynamoError.is(error) || error.operation !== undefined) return failure;
  return { ...failure, details: { type: 'message', message: failure.message } };
}

function registration(config: EngineConfig): Record<string, unknown> {
  checkObject('engine.start result', config);
  return { ...defined(config), ...(config.llm === undefined ? {} : { llm: defined(config.llm) }) };
}

const WORD_BYTES = Uint32Array.BYTES_PER_ELEMENT;

/**
 * Reads `dyn_engine` requests: the number of token ids, the ids, and the rest of the request. All but the rest are
 * 32-bit words. Their copy is aligned, which the payload is not. Source: `packed_request` of
 * `native/core/src/llm/engine.rs`.
 */
export function preprocessed(payload: Uint8Array): PreprocessedRequest {
  const count = new DataView(payload.buffer, payload.byteOffset).getUint32(0, true);
  const end = WORD_BYTES + count * WORD_BYTES;
  const token_ids = new Uint32Array(count);
  new Uint8Array(token_ids.buffer).set(payload.subarray(WORD_BYTES, end));
  return { ...(unpack(payload.subarray(end)) as PreprocessedRequest), token_ids };
}

/** An item in the format of the crates, with token ids in an array. */
function wireOutput(output: unknown): unknown {
  if (typeof output !== 'object' || output === null)
    throw mistake('engine.generate', `engine.generate item: expected an object, got ${shown(output)}`);
  const { token_ids } = output as LLMEngineOutput;
  if (Array.isArray(token_ids)) return output;
  if (token_ids === undefined) return { ...output, token_ids: [] };
  if (token_ids instanceof Uint32Array) return { ...output, token_ids: Array.from(token_ids) };
  throw mistake(
    'engine.generate',
    `engine.generate item.token_ids: expected an array or a Uint32Array of token ids, got ${shown(token_ids)}`,
  );
}
