import { mistake, packBorrowed, packItem, packValue, unpack } from '../addon/codec.js';
import { finish } from '../addon/finish.js';
import type { InboxHandler, InboxRequest } from '../addon/inbox.js';
import { arg, invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { pump } from '../addon/pump.js';
import { NativeStream } from '../addon/stream.js';
import { type Awaitable, checkFunction, checkObject, isAsyncIterable } from '../check.js';
import { ClosedError, failureFrom, shown } from '../errors.js';
import { Annotated } from '../runtime/annotated.js';
import { type CancelKind, type RequestContext, runInContext, ServedContext } from '../runtime/context.js';
import { ResponseStream } from '../runtime/response.js';
import type { CompletionUsage, LLMEngineOutput, PreprocessedRequest } from './protocol.js';

/** A model whose chat requests a processor handles. */
export interface ProcessedModel {
  readonly name: string;
  /** The worker whose model card was discovered first. */
  readonly instance: {
    readonly namespace: string;
    readonly component: string;
    readonly endpoint: string;
    readonly instanceId: bigint;
  };
  /** The model card, with the field names of the crates. Its files are local. Source: `dynamo-llm` `model_card.rs`. */
  readonly card: Readonly<Record<string, unknown>>;
}

/** A chat request as the client sent it. Source: OpenAI's API, with the extensions of `dynamo-llm`. */
export interface ChatRequest {
  readonly model: string;
  readonly messages: readonly {
    readonly role: string;
    readonly content?: unknown;
    readonly [field: string]: unknown;
  }[];
  readonly stream?: boolean | null;
  readonly max_tokens?: number | null;
  readonly max_completion_tokens?: number | null;
  readonly temperature?: number | null;
  readonly top_p?: number | null;
  readonly n?: number | null;
  readonly stop?: string | readonly string[] | null;
  readonly tools?: readonly unknown[] | null;
  readonly [field: string]: unknown;
}

/**
 * A part of the response, as OpenAI's API streams it. The frontend joins the parts for a client that does not stream.
 */
export interface ChatChunk {
  readonly choices: readonly {
    readonly index: number;
    readonly delta: { readonly role?: string; readonly content?: string | null; readonly [field: string]: unknown };
    readonly finish_reason?: 'stop' | 'length' | 'tool_calls' | 'content_filter' | null;
    readonly logprobs?: unknown;
  }[];
  readonly usage?: CompletionUsage;
  /** @default `chatcmpl-` followed by the request's id */
  readonly id?: string;
  /** Seconds since 1970. @default now */
  readonly created?: number;
  /** @default the model of the request */
  readonly model?: string;
  readonly nvext?: unknown;
  readonly [field: string]: unknown;
}

/** A request to the workers: the tokens, and any other fields. */
export type TokenRequest = Pick<PreprocessedRequest, 'token_ids'> & Partial<PreprocessedRequest>;

/** The context of a chat request. */
export interface ProcessorContext extends RequestContext {
  /**
   * Sends tokens to the model's workers, with the frontend's routing, migration and prefill. If the client disconnects,
   * the workers are notified automatically. Leaving the loop ends the generation.
   */
  generate(request: TokenRequest): ResponseStream<LLMEngineOutput>;
}

/** Converts chat requests to tokens and tokens to chat. Replaces the frontend's template, tokenizer and parsers. */
export interface Processor {
  /**
   * Generates the response to one request. Many requests run concurrently. An error reaches the client without its
   * message, unless it is a `DynamoError` with `details: {type: 'message', message}`. When the client disconnects,
   * `context.signal` is aborted and the generator is returned. An `Annotated` sends an event or comments with its data.
   */
  process(request: ChatRequest, context: ProcessorContext): AsyncIterable<ChatChunk | Annotated<ChatChunk>>;
  /** Called when the model has left or the frontend has ended. */
  close?(): Awaitable<void>;
}

/**
 * Creates the processor of a discovered model. The model is offered after the promise resolves. If it rejects, the
 * model is not offered and the reason is logged.
 *
 * @example
 * const processor: ProcessorFactory = ({ card }) => ({
 *   async *process(request, context) {
 *     const token_ids = Uint32Array.from(encode(request.messages));
 *     for await (const { token_ids: ids, finish_reason } of context.generate({ token_ids })) {
 *       const content = decode(ids);
 *       yield { choices: [{ index: 0, delta: { content }, finish_reason: finish_reason ? 'stop' : null }] };
 *     }
 *   },
 * });
 */
export type ProcessorFactory = (model: ProcessedModel) => Awaitable<Processor>;

interface DiscoveredModel {
  readonly model: number;
  readonly name: string;
  readonly instance: { namespace: string; component: string; endpoint: string; instance_id: number | bigint };
  readonly card: Record<string, unknown>;
}

interface ChatCall {
  readonly model: number;
  readonly call: number;
  readonly request: ChatRequest;
}

interface Running {
  readonly context: ChatContext;
  chunks?: AsyncIterator<unknown>;
}

class ChatContext extends ServedContext implements ProcessorContext {
  constructor(
    id: string,
    metadata: Readonly<Record<string, string>>,
    private readonly send: (request: TokenRequest) => ResponseStream<LLMEngineOutput>,
  ) {
    super(id, metadata);
  }

  generate(request: TokenRequest): ResponseStream<LLMEngineOutput> {
    return this.send(request);
  }
}

/** Passes the chat requests of a frontend to their processors, and the requests of processors to the workers. */
export class ProcessorHost implements InboxHandler {
  readonly #models = new Map<number, Processor>();
  readonly #running = new Map<number, Running>();

  constructor(
    private readonly handle: Handle<'processors'>,
    private readonly create: ProcessorFactory,
  ) {}

  async request(request: InboxRequest): Promise<void> {
    try {
      if (request.method === 'chat') return await this.#chat(request);
      if (request.method === 'model') await this.#add(unpack(request.payload) as DiscoveredModel);
      else await this.#remove(unpack(request.payload) as number);
      request.sink.end();
    } catch (error) {
      request.sink.end(failureFrom(error));
    }
  }

  async #add({ model, name, instance, card }: DiscoveredModel): Promise<void> {
    const { namespace, component, endpoint, instance_id } = instance;
    const processor = await this.create({
      name,
      instance: { namespace, component, endpoint, instanceId: BigInt(instance_id) },
      card,
    });
    checkObject('processor', processor);
    checkFunction('processor.process', processor.process);
    this.#models.set(model, processor);
  }

  async #remove(model: number): Promise<void> {
    const processor = this.#models.get(model);
    this.#models.delete(model);
    await processor?.close?.();
  }

  /** Cancels all requests and removes all models, after the frontend has ended. */
  async end(): Promise<void> {
    for (const id of [...this.#running.keys()]) this.lost(id, 'killed');
    await Promise.allSettled([...this.#models.keys()].map((model) => this.#remove(model)));
  }

  async #chat(request: InboxRequest): Promise<void> {
    const { model, call, request: chat } = unpack(request.payload) as ChatCall;
    const processor = this.#models.get(model);
    if (processor === undefined) throw new ClosedError('the model');
    const context = new ChatContext(request.requestId, request.metadata, (tokens) =>
      this.#generate(model, call, tokens),
    );
    const running: Running = { context };
    this.#running.set(request.id, running);
    try {
      const chunks = runInContext(context, () => processor.process(chat, context));
      await this.#stream(request, running, chat, chunks);
    } finally {
      this.#running.delete(request.id);
    }
  }

  async #stream(
    { sink, requestId }: InboxRequest,
    running: Running,
    chat: ChatRequest,
    items: AsyncIterable<unknown>,
  ): Promise<void> {
    if (!isAsyncIterable(items))
      throw mistake('processor.process', `processor.process: expected an async iterable, got ${shown(items)}`);
    const chunks = items[Symbol.asyncIterator]();
    running.chunks = chunks;
    const defaults = {
      id: `chatcmpl-${requestId}`,
      object: 'chat.completion.chunk',
      created: Math.floor(Date.now() / 1000),
      model: chat.model,
    };
    const write = (value: unknown): boolean | Promise<boolean> => {
      const annotated = value instanceof Annotated;
      const chunk = annotated ? withDefaults(value, defaults).wire() : { ...defaults, ...(value as ChatChunk) };
      return sink.write(packItem('processor.process', 'a chunk', chunk), annotated);
    };
    if (await runInContext(running.context, () => pump(chunks, write))) sink.end();
    else finish(chunks);
  }

  #generate(model: number, call: number, request: TokenRequest): ResponseStream<LLMEngineOutput> {
    const operation = 'processor generate';
    checkObject(`${operation} request`, request);
    const payload = packValue(operation, 'the request', request, packBorrowed);
    const handle = invokeSync(native.processorGenerate, operation, {
      handle: this.handle,
      payload,
      a: arg('model', model),
      b: arg('request', call),
    });
    const decode = ({ bytes }: { bytes: Uint8Array }): LLMEngineOutput =>
      withoutNulls(unpack(bytes) as Record<string, unknown>);
    return new ResponseStream<LLMEngineOutput>(
      new NativeStream(handle, operation),
      decode,
      () => {},
      undefined,
    ).start();
  }

  lost(id: number, kind: Exclude<CancelKind, 'shutdown'>): void {
    const running = this.#running.get(id);
    if (running === undefined) return;
    running.context.cancel(kind);
    if (kind === 'killed' && running.chunks !== undefined) finish(running.chunks);
  }
}

function withDefaults({ data, ...rest }: Annotated<ChatChunk>, defaults: object): Annotated<ChatChunk> {
  return new Annotated({ ...rest, ...(data === undefined ? {} : { data: { ...defaults, ...data } }) });
}

/** The crates write an absent field as null. */
function withoutNulls(output: Record<string, unknown>): LLMEngineOutput {
  for (const [name, value] of Object.entries(output)) if (value === null) delete output[name];
  return output as unknown as LLMEngineOutput;
}
