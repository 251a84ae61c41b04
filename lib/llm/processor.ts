import { mistake, packBorrowed, packItem, packValue, unpack } from '../addon/codec.js';
import { finish } from '../addon/finish.js';
import type { InboxHandler, InboxRequest } from '../addon/inbox.js';
import { invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { PullStream } from '../addon/stream.js';
import { turnOver } from '../addon/turn.js';
import { checkFunction, checkObject, isAsyncIterable } from '../check.js';
import { ClosedError, failureFrom, shown } from '../errors.js';
import { Annotated } from '../runtime/annotated.js';
import { type CancelKind, type RequestContext, runInContext, ServedContext } from '../runtime/context.js';
import { ResponseStream } from '../runtime/response.js';
import type { CompletionUsage, LLMEngineOutput, PreprocessedRequest } from './protocol.js';

/** @inline */
type Awaitable<T> = T | Promise<T>;

/** A model whose chat requests are processed here. */
export interface ProcessedModel {
  readonly name: string;
  /** The worker whose model card came first. */
  readonly instance: {
    readonly namespace: string;
    readonly component: string;
    readonly endpoint: string;
    readonly instanceId: bigint;
  };
  /** The model card in the crates' own field names; its files are local by now. Source: `dynamo-llm` `model_card.rs`. */
  readonly card: Readonly<Record<string, unknown>>;
}

/** A chat request as the client sent it. Source: OpenAI's API, with `dynamo-llm`'s extensions. */
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

/** A part of the answer, as OpenAI's API streams it. For a client that does not stream the frontend joins the parts. */
export interface ChatChunk {
  readonly choices: readonly {
    readonly index: number;
    readonly delta: { readonly role?: string; readonly content?: string | null; readonly [field: string]: unknown };
    readonly finish_reason?: 'stop' | 'length' | 'tool_calls' | 'content_filter' | null;
    readonly logprobs?: unknown;
  }[];
  readonly usage?: CompletionUsage;
  /** @default `chatcmpl-` and the request's id */
  readonly id?: string;
  /** Seconds since 1970. @default now */
  readonly created?: number;
  /** @default that of the request */
  readonly model?: string;
  readonly nvext?: unknown;
  readonly [field: string]: unknown;
}

/** What the workers are asked: the tokens, and of the rest what is wanted. */
export type TokenRequest = Pick<PreprocessedRequest, 'token_ids'> & Partial<PreprocessedRequest>;

/** A chat request that is being processed. */
export interface ProcessorContext extends RequestContext {
  /**
   * Sends tokens to the model's workers, through the frontend's own routing, migration and prefill. The workers hear of a
   * client that is gone without the processor's help. Leaving the loop ends the generation.
   */
  generate(request: TokenRequest): ResponseStream<LLMEngineOutput>;
}

/** Turns chat requests into tokens and tokens into chat, in place of the frontend's template, tokenizer and parsers. */
export interface Processor {
  /**
   * Answers one request; many run at a time. What it throws reaches the client as an error, its words only with
   * `details: {type: 'message', message}` of a `DynamoError`. When the client is gone `context.signal` is aborted and the
   * generator is returned. An `Annotated` sends an event or comments with its data.
   */
  process(request: ChatRequest, context: ProcessorContext): AsyncIterable<ChatChunk | Annotated<ChatChunk>>;
  /** The model has left, or the frontend has ended. */
  close?(): Awaitable<void>;
}

/**
 * Makes the processor of a model that was found. The model is offered once it resolves; where it fails, the model is not,
 * and the log says why.
 *
 * @example
 * const processor: ProcessorFactory = ({ card }) => ({
 *   async *process(request, context) {
 *     const token_ids = Uint32Array.from(encode(request.messages));
 *     for await (const { token_ids: ids, finish_reason } of context.generate({ token_ids })) {
 *       yield { choices: [{ index: 0, delta: { content: decode(ids) }, finish_reason: finish_reason ? 'stop' : null }] };
 *     }
 *   },
 * });
 */
export type ProcessorFactory = (model: ProcessedModel) => Awaitable<Processor>;

interface Found {
  readonly model: number;
  readonly name: string;
  readonly instance: { namespace: string; component: string; endpoint: string; instance_id: number | bigint };
  readonly card: Record<string, unknown>;
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

/** The chat requests of a frontend, from its server to their processors and on to the workers. */
export class ProcessorHost implements InboxHandler {
  readonly #models = new Map<number, Processor>();
  readonly #running = new Map<number, Running>();

  constructor(
    private readonly handle: Handle,
    private readonly make: ProcessorFactory,
  ) {}

  async request(request: InboxRequest): Promise<void> {
    try {
      if (request.method === 'chat') return await this.#chat(request);
      if (request.method === 'model') await this.#add(unpack(request.payload) as Found);
      else await this.#remove(unpack(request.payload) as number);
      request.sink.end();
    } catch (error) {
      request.sink.end(failureFrom(error));
    }
  }

  async #add({ model, name, instance, card }: Found): Promise<void> {
    const { namespace, component, endpoint, instance_id } = instance;
    const processor = await this.make({
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

  /** The frontend has ended, and its models with it. */
  async end(): Promise<void> {
    await Promise.allSettled([...this.#models.keys()].map((model) => this.#remove(model)));
  }

  async #chat(request: InboxRequest): Promise<void> {
    const {
      model,
      call,
      request: asked,
    } = unpack(request.payload) as { model: number; call: number; request: ChatRequest };
    const processor = this.#models.get(model);
    if (processor === undefined) throw new ClosedError('the model');
    const context = new ChatContext(request.requestId, request.metadata, (tokens) =>
      this.#generate(model, call, tokens),
    );
    const running: Running = { context };
    this.#running.set(request.id, running);
    try {
      await this.#stream(
        request,
        running,
        asked,
        runInContext(context, () => processor.process(asked, context)),
      );
    } finally {
      this.#running.delete(request.id);
    }
  }

  async #stream(
    { sink, requestId }: InboxRequest,
    running: Running,
    asked: ChatRequest,
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
      model: asked.model,
    };
    for (;;) {
      const { done, value } = await runInContext(running.context, () => chunks.next());
      if (done === true) return sink.end();
      const annotated = value instanceof Annotated;
      const chunk = annotated ? withDefaults(value, defaults).wire() : { ...defaults, ...(value as ChatChunk) };
      const written = sink.write(packItem('processor.process', 'a chunk', chunk), annotated);
      if (written === true || (written !== false && (await written))) {
        const over = turnOver();
        if (over !== undefined) await over;
        continue;
      }
      finish(chunks);
      return;
    }
  }

  #generate(model: number, call: number, request: TokenRequest): ResponseStream<LLMEngineOutput> {
    const operation = 'processor generate';
    checkObject(`${operation} request`, request);
    const payload = packValue(operation, 'the request', request, packBorrowed);
    const handle = invokeSync(native.processorGenerate, operation, { handle: this.handle, payload, a: model, b: call });
    const decode = ({ bytes }: { bytes: Uint8Array }): LLMEngineOutput =>
      withoutNulls(unpack(bytes) as Record<string, unknown>);
    return new ResponseStream<LLMEngineOutput>(new PullStream(handle, operation), decode, () => {}, undefined).start();
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

/** The crates write what is not there as null. */
function withoutNulls(output: Record<string, unknown>): LLMEngineOutput {
  for (const [name, value] of Object.entries(output)) if (value === null) delete output[name];
  return output as unknown as LLMEngineOutput;
}
