import { type Pullable, type PulledItem, PullIterator, type PullStream } from '../addon/stream.js';
import { DynamoError } from '../errors.js';

/** The answer to a request, item by item. Leaving the loop, or `kill`, ends the request at the worker. */
export class ResponseStream<T> extends PullIterator<T> {
  /** @internal */
  constructor(
    stream: Pullable,
    decode: (item: PulledItem) => T | undefined,
    finished: () => void,
    /** The id that the worker sees as `context.id`, where the caller gave one. */
    readonly id: string | undefined,
  ) {
    super(stream, decode, finished);
  }

  /** Asks the worker to stop; its items on the way may still come, and the stream then ends without an error. */
  stop(): void {
    this.stream.stop();
  }

  /** Ends the request now: the worker's signal is aborted, readers see the end. */
  async kill(): Promise<void> {
    await this.return();
  }

  /** All items that are left. */
  async collect(): Promise<T[]> {
    const items: T[] = [];
    for await (const item of this) items.push(item);
    return items;
  }
}

/** A request that is sent again, up to `attempts` times in all, while it fails retryably before its first item. */
export class RetriedPull implements Pullable {
  #current: PullStream;
  #left: number;
  /** Nobody wants another attempt. */
  #over = false;
  #started = false;

  constructor(
    private readonly open: () => PullStream,
    attempts: number,
  ) {
    this.#left = attempts - 1;
    this.#current = open();
  }

  async pull(min?: number): Promise<PulledItem[]> {
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
