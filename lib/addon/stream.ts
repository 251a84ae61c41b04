import { ClosedError, errorFrom, type Failure } from '../errors.js';
import { unpack, unpackAt } from './codec.js';
import { invoke, invokeSync, native } from './invoke.js';
import type { Bytes, Handle } from './native.js';

/** One item where it lies in the batch that brought it: a value, or a map with annotations. */
export class PulledItem {
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

export interface PullOptions {
  /** The most items taken by one crossing. */
  maxItems?: number;
  /** The most bytes taken by one crossing; a single larger item still comes whole. */
  maxBytes?: number;
  background?: boolean;
}

const MORE = 0;
const FAILED = 2;
const HEADER_BYTES = 5;
const ITEM_HEADER_BYTES = 5;

/** What one batch brought. */
export interface Batch {
  readonly items: PulledItem[];
  /** Nothing comes behind it. */
  readonly last: boolean;
  /** What ended the stream behind its last item. */
  readonly error: Error | undefined;
}

/** Reads a batch; see `native/core/src/stream.rs`. */
export function batchFrom(bytes: Bytes, operation: string): Batch {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const count = view.getUint32(1, true);
  const items = new Array<PulledItem>(count);
  let offset = HEADER_BYTES;
  for (let index = 0; index < count; index++) {
    const start = offset + ITEM_HEADER_BYTES;
    const end = start + view.getUint32(offset + 1, true);
    items[index] = new PulledItem(bytes[offset] === 1, bytes, start, end);
    offset = end;
  }
  const error = bytes[0] === FAILED ? errorFrom(unpack(bytes.subarray(offset)) as Failure, operation) : undefined;
  return { items, last: bytes[0] !== MORE, error };
}

/**
 * A native stream, pulled in batches. At most one pull is under way; nothing is fetched before it is asked for, so a reader
 * that stops reading stops the producer once the queues between them are full.
 */
export class PullStream {
  #handle: Handle | undefined;
  #error: Error | undefined;
  readonly #operation: string;
  readonly #limits: number;
  readonly #background: boolean;

  constructor(handle: Handle, operation: string, options: PullOptions = {}) {
    this.#handle = handle;
    this.#operation = operation;
    this.#limits = (options.maxItems ?? 256) + Math.ceil((options.maxBytes ?? 1 << 20) / 1024) * 2 ** 32;
    this.#background = options.background === true;
  }

  /** Whether the stream may still give items. */
  get open(): boolean {
    return this.#handle !== undefined;
  }

  /**
   * The next items: at least one while the stream is open, none at its end. `min` waits for more of them. An error is
   * thrown once, behind the last item.
   */
  async pull(min = 1): Promise<PulledItem[]> {
    const handle = this.#handle;
    if (handle === undefined) {
      const error = this.#error;
      this.#error = undefined;
      if (error !== undefined) throw error;
      return [];
    }
    const parts = { handle, a: min, b: this.#limits };
    const { items, last, error } = batchFrom(
      await invoke(native.streamPull, this.#operation, parts, { background: this.#background }),
      this.#operation,
    );
    if (last) this.#handle = undefined;
    this.#error = error;
    return error !== undefined && items.length === 0 ? this.pull() : items;
  }

  /** Asks the producer to finish; what it still gives is read as before. */
  stop(): void {
    if (this.#handle !== undefined) invokeSync(native.streamCancel, this.#operation, { handle: this.#handle, a: 0 });
  }

  /** Ends the stream now and tells the producer. Idempotent. */
  kill(): void {
    const handle = this.#handle;
    this.#handle = undefined;
    this.#error = undefined;
    if (handle !== undefined) invokeSync(native.streamCancel, this.#operation, { handle, a: 1 });
  }
}

/** What an iterator reads from: a native stream, or one that is opened again while nothing came. */
export type Pullable = Pick<PullStream, 'pull' | 'stop' | 'kill'>;

/** The items of a stream, decoded one by one as they are read. Leaving the loop kills the stream. */
export class PullIterator<T> implements AsyncIterableIterator<T> {
  #failure: { error: unknown } | undefined;
  #first: Promise<PulledItem[]> | undefined;
  #items: PulledItem[] = [];
  #next = 0;
  #tail: Promise<unknown> = Promise.resolve();
  #ended = false;

  /** `decode` gives undefined for an item that readers do not see. */
  constructor(
    protected readonly stream: Pullable,
    private readonly decode: (item: PulledItem) => T | undefined,
    private readonly finished: () => void = () => {},
  ) {}

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Asks for the first items before anyone reads them. */
  start(): this {
    this.#first = this.stream.pull();
    this.#first.catch(() => {});
    return this;
  }

  /** Kills the stream; the reader gets the error in place of what is unread. */
  fail(error: unknown): void {
    if (this.#ended) return;
    this.#failure = { error };
    this.#items = [];
    this.stream.kill();
  }

  /** The next item, or the end. Throws what ended the stream, once, behind its last item. */
  next(): Promise<IteratorResult<T>> {
    const ready = this.#take();
    if (ready !== undefined) return Promise.resolve({ done: false, value: ready });
    // Reads that overlap are answered in their order.
    const result = this.#tail.then(() => this.#fetch());
    this.#tail = result.catch(() => {});
    return result;
  }

  #take(): T | undefined {
    while (this.#next < this.#items.length) {
      const value = this.decode(this.#items[this.#next++] as PulledItem);
      if (value !== undefined) return value;
    }
    return undefined;
  }

  async #fetch(): Promise<IteratorResult<T>> {
    for (;;) {
      const value = this.#take();
      if (value !== undefined) return { done: false, value };
      if (this.#ended) return { done: true, value: undefined };
      let items: PulledItem[] = [];
      try {
        const first = this.#first;
        this.#first = undefined;
        items = await (first ?? this.stream.pull());
      } catch (error) {
        this.#failure ??= { error };
      }
      const failure = this.#failure;
      if (failure !== undefined) {
        this.#failure = undefined;
        this.#end();
        throw failure.error;
      }
      if (this.#ended) continue;
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

  /** What leaving a `for await` loop calls: drops what is unread and kills the stream. */
  async return(): Promise<IteratorResult<T>> {
    this.#items = [];
    this.#next = 0;
    this.stream.kill();
    this.#end();
    return { done: true, value: undefined };
  }

  /** Kills the stream and rejects with `error`. */
  async throw(error: unknown): Promise<IteratorResult<T>> {
    await this.return();
    throw error;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }
}

/** Throws where an object is used after its close. */
export function open<T>(value: T | undefined, what: string, operation: string): T {
  if (value === undefined) throw new ClosedError(what, operation);
  return value;
}
