import { unpack } from '../addon/codec.js';
import { arg, invoke, native } from '../addon/invoke.js';
import { ClosedError, NixlError } from '../errors.js';
import type { NixlAgent } from './agent.js';
import { type Notification, NotificationQueue } from './notification-queue.js';

const OPERATION = 'agent.notifications';

/** The most messages that wait for a reader without a filter. */
const MAX_UNCLAIMED = 1024;

/** How a read ends that gets no message: with the error, if there is one. */
export interface ReadEnd {
  readonly error?: unknown;
}

/** A read that waits for a message. */
export interface WaitingRead {
  readonly queue: NotificationQueue;
  readonly maxCount: number;
  /** The read does not keep the process alive. */
  readonly background: boolean;
  /** Ends the wait, once. */
  settle(end: ReadEnd): void;
}

/**
 * Distributes the messages of an agent. Each goes to every reader whose filter accepts it. The others wait for a reader
 * without a filter, or for a later filter that accepts them. Messages are only taken from the library while a read
 * waits.
 */
export class NotificationHub {
  readonly #filtered = new Set<NotificationQueue>();
  readonly #unclaimed = new NotificationQueue(MAX_UNCLAIMED);
  readonly #waiting = new Set<WaitingRead>();
  /** Reads that end without a message, unless the library hands one over at that moment. */
  readonly #leaving = new Map<WaitingRead, ReadEnd>();
  #pull: { readonly stop: AbortController; readonly maxCount: number; readonly background: boolean } | undefined;

  constructor(private readonly agent: NixlAgent) {}

  get isOpen(): boolean {
    return this.agent.isOpen;
  }

  /** Opens the queue of a reader. Without `accepts` it is the one of the messages that no filter accepts. */
  open(maxCount: number, accepts?: (message: Notification) => boolean): NotificationQueue {
    if (accepts === undefined) return this.#unclaimed;
    const queue = new NotificationQueue(maxCount, accepts);
    this.#filtered.add(queue);
    this.#unclaimed.offerTo(queue);
    if (this.#pull !== undefined && this.#pull.maxCount > queue.free) this.#pull.stop.abort();
    return queue;
  }

  close(queue: NotificationQueue): void {
    this.#filtered.delete(queue);
  }

  /**
   * Waits until a queue has a message or the agent is closed. Returns a function that ends the wait.
   *
   * @throws NixlError if another reader without a filter waits: both would get parts of the messages
   */
  wait(read: WaitingRead): (end: ReadEnd) => void {
    for (const { queue } of this.#waiting)
      if (queue === read.queue)
        throw new NixlError(
          'Conflict',
          `${OPERATION}: the notifications of '${this.agent.name}' already have a reader without a filter`,
          { reason: 'nixl.notifications_read', operation: OPERATION },
        );
    this.#waiting.add(read);
    if (this.#pull === undefined) void this.#run();
    else if ((this.#pull.background && !read.background) || this.#pull.maxCount > read.maxCount)
      this.#pull.stop.abort();
    return (end) => {
      if (!this.#waiting.has(read)) return;
      this.#leaving.set(read, end);
      this.#pull?.stop.abort();
    };
  }

  async #run(): Promise<void> {
    while (this.#waiting.size > 0) {
      const reads = [...this.#waiting];
      const background = reads.every((read) => read.background);
      const maxCount = Math.max(
        1,
        Math.min(...reads.map((read) => read.maxCount), ...[...this.#filtered].map(({ free }) => free)),
      );
      const stop = new AbortController();
      this.#pull = { stop, maxCount, background };
      try {
        const handle = this.agent.handle(OPERATION);
        const options = { signal: stop.signal, background, lossless: true };
        const parts = { handle, a: arg('maxCount', maxCount) };
        this.#deliver(unpack(await invoke(native.nixlAgentNotifications, OPERATION, parts, options)));
      } catch (error) {
        if (!stop.signal.aborted) this.#end(error);
      }
      this.#settle();
    }
    this.#pull = undefined;
  }

  /** @param batch sender, message, sender, ... */
  #deliver(batch: unknown): void {
    const flat = batch as (string | Uint8Array)[];
    for (let index = 0; index < flat.length; index += 2) {
      const message = { from: flat[index] as string, data: flat[index + 1] as Uint8Array };
      let isClaimed = false;
      for (const queue of this.#filtered) isClaimed = queue.offer(message) || isClaimed;
      if (!isClaimed) this.#unclaimed.push(message);
    }
    for (const queue of this.#filtered) if (queue.hasFailed) this.#filtered.delete(queue);
  }

  /** Ends every read that has a message, or that was to end. */
  #settle(): void {
    for (const read of this.#waiting) {
      const end = read.queue.isReady ? {} : this.#leaving.get(read);
      if (end !== undefined) this.#finish(read, end);
    }
  }

  /** No further message comes from the library. */
  #end(error: unknown): void {
    for (const read of this.#waiting) this.#finish(read, error instanceof ClosedError ? {} : { error });
  }

  #finish(read: WaitingRead, end: ReadEnd): void {
    this.#waiting.delete(read);
    this.#leaving.delete(read);
    read.settle(end);
  }
}
