import { errorFrom, type Failure } from '../errors.js';
import { unpack, unpackAt } from './codec.js';
import { arg, invoke, invokeSync, native } from './invoke.js';
import type { Arg, Bytes, Handle } from './native.js';

/** One item, as a part of the batch that contains it: a value, or a map with annotations. */
export class StreamItem {
  constructor(
    readonly annotated: boolean,
    private readonly batch: Bytes,
    private readonly start: number,
    private readonly end: number,
  ) {}

  get bytes(): Bytes {
    return this.batch.subarray(this.start, this.end);
  }

  unpack(): unknown {
    return unpackAt(this.batch, this.start, this.end);
  }
}

export interface StreamOptions {
  /** The maximum number of items per crossing. */
  maxItems?: number;
  /** The maximum number of bytes per crossing. A single larger item is still returned whole. */
  maxBytes?: number;
  /** Reading alone does not keep the process alive. */
  background?: boolean;
}

const MORE = 0;
const FAILED = 2;
const HEADER_BYTES = 5;
const ITEM_HEADER_BYTES = 5;

/** The content of one batch. */
export interface Batch {
  readonly items: StreamItem[];
  /** No batch follows. */
  readonly last: boolean;
  /** The error that ended the stream after its last item. */
  readonly error: Error | undefined;
}

/** Reads a batch; see `native/core/src/stream.rs`. */
export function batchFrom(bytes: Bytes, operation: string): Batch {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const count = view.getUint32(1, true);
  const items = new Array<StreamItem>(count);
  let offset = HEADER_BYTES;
  for (let index = 0; index < count; index++) {
    const start = offset + ITEM_HEADER_BYTES;
    const end = start + view.getUint32(offset + 1, true);
    items[index] = new StreamItem(bytes[offset] === 1, bytes, start, end);
    offset = end;
  }
  const error = bytes[0] === FAILED ? errorFrom(unpack(bytes.subarray(offset)) as Failure, operation) : undefined;
  return { items, last: bytes[0] !== MORE, error };
}

/**
 * A native stream, read in batches. At most one pull is in flight, and nothing is fetched before it is requested. When
 * the reader stops, the queues fill up and the producer stops too.
 */
export class NativeStream {
  #handle: Handle<'stream'> | undefined;
  #error: Error | undefined;
  readonly #operation: string;
  readonly #limits: Arg<'limits'>;
  readonly #background: boolean;

  constructor(handle: Handle<'stream'>, operation: string, options: StreamOptions = {}) {
    this.#handle = handle;
    this.#operation = operation;
    const kibibytes = Math.ceil((options.maxBytes ?? 1 << 20) / 1024);
    this.#limits = arg('limits', (options.maxItems ?? 256) + kibibytes * 2 ** 32);
    this.#background = options.background === true;
  }

  /**
   * The next items: at least one while the stream is open, none at its end. `min` waits for more of them. An error is
   * thrown once, after the last item.
   */
  async pull(min = 1): Promise<StreamItem[]> {
    const handle = this.#handle;
    if (handle === undefined) {
      const error = this.#error;
      this.#error = undefined;
      if (error !== undefined) throw error;
      return [];
    }
    const parts = { handle, a: arg('minItems', min), b: this.#limits };
    const { items, last, error } = batchFrom(
      await invoke(native.streamPull, this.#operation, parts, { background: this.#background }),
      this.#operation,
    );
    if (last) this.#handle = undefined;
    this.#error = error;
    return error !== undefined && items.length === 0 ? this.pull() : items;
  }

  /** Requests the producer to finish. Items that it still sends are read as before. */
  stop(): void {
    if (this.#handle !== undefined)
      invokeSync(native.streamCancel, this.#operation, { handle: this.#handle, a: arg('isKill', 0) });
  }

  /** Ends the stream now and cancels the producer. Idempotent. */
  kill(): void {
    const handle = this.#handle;
    this.#handle = undefined;
    this.#error = undefined;
    if (handle !== undefined) invokeSync(native.streamCancel, this.#operation, { handle, a: arg('isKill', 1) });
  }
}

/** What an iterator reads from: a native stream, or one that is opened again while it has returned no items. */
export type ItemSource = Pick<NativeStream, 'pull' | 'stop' | 'kill'>;

/** The items of a stream, decoded one by one as they are read. Leaving the loop kills the stream. */
export class StreamIterator<T> implements AsyncIterableIterator<T> {
  #failure: { error: unknown } | undefined;
  #first: Promise<StreamItem[]> | undefined;
  #items: StreamItem[] = [];
  #next = 0;
  /** Reads that wait. Later ones wait for them, so that overlapping reads get the items in order. */
  #waiting = 0;
  #tail: Promise<unknown> = Promise.resolve();
  #ended = false;

  /**
   * `decode` returns undefined for an item that readers do not see. If it throws, the stream is killed, and the reader
   * gets the error.
   */
  constructor(
    protected readonly stream: ItemSource,
    private readonly decode: (item: StreamItem) => T | undefined,
    private readonly finished: () => void = () => {},
  ) {}

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Requests the first items before a consumer reads them. */
  start(): this {
    this.#first = this.stream.pull();
    this.#first.catch(() => {});
    return this;
  }

  /** Kills the stream. The reader gets the error instead of the unread items. */
  fail(error: unknown): void {
    if (this.#ended) return;
    this.#failure = { error };
    this.#items = [];
    this.stream.kill();
  }

  /** The next item, or the end. Throws the error that ended the stream, once, after the last item. */
  next(): Promise<IteratorResult<T>> {
    if (this.#waiting === 0) {
      try {
        const ready = this.#take();
        if (ready !== undefined) return Promise.resolve({ done: false, value: ready });
      } catch (error) {
        return Promise.reject(error);
      }
    }
    this.#waiting += 1;
    const result = this.#tail.then(() => this.#fetch());
    const over = (): void => void (this.#waiting -= 1);
    this.#tail = result.then(over, over);
    return result;
  }

  #take(): T | undefined {
    try {
      while (this.#next < this.#items.length) {
        const value = this.decode(this.#items[this.#next++] as StreamItem);
        if (value !== undefined) return value;
      }
    } catch (error) {
      this.#leave();
      throw error;
    }
    return undefined;
  }

  async #fetch(): Promise<IteratorResult<T>> {
    for (;;) {
      const value = this.#take();
      if (value !== undefined) return { done: false, value };
      if (this.#ended) return { done: true, value: undefined };
      let items: StreamItem[] = [];
      try {
        const first = this.#first;
        this.#first = undefined;
        items = await (first ?? this.stream.pull());
      } catch (error) {
        this.#failure ??= { error };
      }
      if (this.#ended) continue;
      const failure = this.#failure;
      if (failure !== undefined) {
        this.#failure = undefined;
        this.#leave();
        throw failure.error;
      }
      this.#items = items;
      this.#next = 0;
      if (items.length === 0) this.#end();
    }
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.finished();
  }

  #leave(): void {
    this.#items = [];
    this.#next = 0;
    this.stream.kill();
    this.#end();
  }

  /** Called when a `for await` loop is left. Drops the unread items and kills the stream. */
  async return(): Promise<IteratorResult<T>> {
    this.#leave();
    return { done: true, value: undefined };
  }

  /** Kills the stream and rejects with `error`. */
  async throw(error: unknown): Promise<IteratorResult<T>> {
    this.#leave();
    throw error;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#leave();
  }
}
