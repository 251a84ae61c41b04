import { type ItemSource, type NativeStream, type StreamItem, StreamIterator } from '../addon/stream.js';
import { DynamoError } from '../errors.js';

/** The answer to a request, item by item. Leaving the loop, or `kill`, cancels the request at the worker. */
export class ResponseStream<T> extends StreamIterator<T> {
  /** @internal */
  constructor(
    stream: ItemSource,
    decode: (item: StreamItem) => T | undefined,
    finished: () => void,
    /** The id that the worker sees as `context.id`, if the caller chose one. */
    readonly id: string | undefined,
  ) {
    super(stream, decode, finished);
  }

  /** Requests the worker to stop. Items in flight may still arrive. Then the stream ends without an error. */
  stop(): void {
    this.stream.stop();
  }

  /** Ends the request now. The worker's signal is aborted, and readers see the end. */
  async kill(): Promise<void> {
    await this.return();
  }

  /** All remaining items. */
  async collect(): Promise<T[]> {
    const items: T[] = [];
    for await (const item of this) items.push(item);
    return items;
  }
}

/** A request that is sent again, up to `attempts` times in all, while it fails retryably before its first item. */
export class RetriedStream implements ItemSource {
  #current: NativeStream;
  #left: number;
  /** No further attempt is allowed. */
  #over = false;
  #started = false;

  constructor(
    private readonly open: () => NativeStream,
    attempts: number,
  ) {
    this.#left = attempts - 1;
    this.#current = open();
  }

  async pull(min?: number): Promise<StreamItem[]> {
    for (;;) {
      try {
        const items = await this.#current.pull(min);
        this.#started ||= items.length > 0;
        return items;
      } catch (error) {
        const again = DynamoError.is(error) && error.retryable && !this.#started && !this.#over && this.#left > 0;
        if (!again) throw error;
        this.#left -= 1;
        this.#current = this.open();
      }
    }
  }

  stop(): void {
    this.#over = true;
    this.#current.stop();
  }

  kill(): void {
    this.#over = true;
    this.#current.kill();
  }
}
