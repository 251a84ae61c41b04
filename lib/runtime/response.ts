import { type ItemSource, type NativeStream, type StreamItem, StreamIterator } from '../addon/stream.js';
import { Attempts } from './attempts.js';

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
  readonly #attempts: Attempts;
  #current: NativeStream;
  /** No further attempt is allowed. */
  #over = false;
  #started = false;

  /** `open` sends the request to an instance that is not in `failed`. */
  constructor(
    private readonly open: (failed: readonly bigint[]) => NativeStream,
    attempts: number,
  ) {
    this.#attempts = new Attempts(attempts);
    this.#current = open([]);
  }

  async pull(min?: number): Promise<StreamItem[]> {
    for (;;) {
      try {
        const items = await this.#current.pull(min);
        this.#started ||= items.length > 0;
        return items;
      } catch (error) {
        if (this.#started || this.#over) throw error;
        this.#attempts.next(error);
        this.#current = this.open(this.#attempts.failed);
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
