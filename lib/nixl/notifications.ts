import { unpack } from '../addon/codec.js';
import { arg, type InvokeOptions, invoke, native } from '../addon/invoke.js';
import { ClosedError } from '../errors.js';
import { boolean, integer, type OptionTable, optionTable } from '../options.js';
import type { NixlAgent } from './agent.js';
import { invokeOptions, LIMIT_ROWS } from './limit.js';

/** A message from a peer. Messages of one sender arrive in order. */
export interface Notification {
  readonly from: string;
  readonly data: Uint8Array;
}

/** How notifications are read. */
export interface NotificationOptions {
  /** Rejects the next read with the signal's reason. */
  readonly signal?: AbortSignal;
  /**
   * Rejects a read with `DYN_DEADLINE_EXCEEDED` if no message arrives within this many milliseconds. Reading may
   * continue after that.
   *
   * @default no limit
   */
  readonly timeoutMs?: number;
  /** The most messages taken from the library at a time. Others stay in the library. @default 256 */
  readonly maxQueued?: number;
  /** If true, a read that waits does not keep the process alive. @default false */
  readonly background?: boolean;
}

const NOTIFICATION_OPTIONS: OptionTable<NotificationOptions> = optionTable<NotificationOptions>({
  ...LIMIT_ROWS,
  maxQueued: integer(1, 2 ** 20).about('The most messages taken from the library at a time.'),
  background: boolean.about('A read that waits does not keep the process alive.'),
});

/** The messages that an agent receives. Ends with the agent. Leaving the loop drops messages taken but not read. */
export class Notifications implements AsyncIterableIterator<Notification> {
  readonly #agent: NixlAgent;
  readonly #maxQueued: number;
  readonly #background: boolean;
  readonly #signal: AbortSignal | undefined;
  readonly #deadline: InvokeOptions['deadline'];
  readonly #left = new AbortController();
  #queue: Notification[] = [];
  #next = 0;
  #tail: Promise<unknown> = Promise.resolve();

  /** @internal */
  constructor(agent: NixlAgent, options: NotificationOptions) {
    NOTIFICATION_OPTIONS.check('agent.notifications options', options);
    const { signal, maxQueued = 256, background = false } = options;
    this.#deadline = invokeOptions('agent.notifications', options).deadline;
    this.#agent = agent;
    this.#maxQueued = maxQueued;
    this.#background = background;
    this.#signal = signal;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** The next notification, or the end. */
  next(): Promise<IteratorResult<Notification>> {
    // Concurrent reads are answered in order.
    const result = this.#tail.then(() => this.#take());
    this.#tail = result.catch(() => {});
    return result;
  }

  async #take(): Promise<IteratorResult<Notification>> {
    if (this.#next === this.#queue.length) {
      if (this.#left.signal.aborted || !this.#agent.isOpen) return { done: true, value: undefined };
      this.#signal?.throwIfAborted();
      const signal =
        this.#signal === undefined ? this.#left.signal : AbortSignal.any([this.#signal, this.#left.signal]);
      try {
        const handle = this.#agent.handle('agent.notifications');
        const batch = await invoke(
          native.nixlAgentNotifications,
          'agent.notifications',
          { handle, a: arg('maxCount', this.#maxQueued) },
          { signal, deadline: this.#deadline, background: this.#background, lossless: true },
        );
        const flat = unpack(batch) as (string | Uint8Array)[];
        this.#queue = Array.from({ length: flat.length / 2 }, (_, index) => ({
          from: flat[index * 2] as string,
          data: flat[index * 2 + 1] as Uint8Array,
        }));
        this.#next = 0;
      } catch (error) {
        if (error instanceof ClosedError || (this.#left.signal.aborted && this.#signal?.aborted !== true))
          return { done: true, value: undefined };
        throw error;
      }
    }
    return { done: false, value: this.#queue[this.#next++] as Notification };
  }

  /** Ends the iteration. A `for await` loop that is left calls it. */
  async return(): Promise<IteratorResult<Notification>> {
    this.#left.abort();
    return { done: true, value: undefined };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }
}
