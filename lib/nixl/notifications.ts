import { onAbort } from '../addon/aborts.js';
import type { InvokeOptions } from '../addon/invoke.js';
import { boolean, callback, custom, integer, type OptionTable, optionTable } from '../options.js';
import { checkAgentName } from './agent-options.js';
import { invokeOptions, LIMIT_ROWS } from './limit.js';
import type { NotificationHub, ReadEnd } from './notification-hub.js';
import type { Notification, NotificationQueue } from './notification-queue.js';
import { checkMessage, messageBytes } from './peer.js';

/**
 * How notifications are read. A reader with `from`, `prefix` or `matches` has a filter: it gets every message that
 * satisfies all of them, from when it is made until it ends.
 */
export interface NotificationOptions {
  /** Only messages of the peer of this name. */
  readonly from?: string;
  /** Only messages that begin with these bytes, or with this text in UTF-8. */
  readonly prefix?: string | Uint8Array;
  /** Only messages for which it returns true. It must be fast. An error that it throws ends the reader. */
  readonly matches?: (message: Notification) => boolean;
  /** Rejects the next read with the signal's reason. */
  readonly signal?: AbortSignal;
  /**
   * Rejects a read with `DYN_DEADLINE_EXCEEDED` if no message arrives within this many milliseconds. Reading may
   * continue after that.
   *
   * @default no limit
   */
  readonly timeoutMs?: number;
  /**
   * The most messages taken from the library at a time, and the most that wait for a reader with a filter while others
   * read. If more wait, the oldest are dropped: the next read rejects once with `nixl.notifications_lost`.
   *
   * @default 1024
   */
  readonly maxQueued?: number;
  /** If true, a read that waits does not keep the process alive. @default false */
  readonly background?: boolean;
}

const NOTIFICATION_OPTIONS: OptionTable<NotificationOptions> = optionTable<NotificationOptions>({
  from: custom<string>('the name of a peer', checkAgentName, 'text').about('Only messages of this peer.'),
  prefix: custom<string | Uint8Array>('a Uint8Array or a string', checkMessage).about(
    'Only messages that begin with this.',
  ),
  matches: callback<(message: Notification) => boolean>().about('Only messages for which it returns true.'),
  ...LIMIT_ROWS,
  maxQueued: integer(1, 2 ** 20).about('The most messages that wait.'),
  background: boolean.about('A read that waits does not keep the process alive.'),
});

/** The filter of a reader. Undefined for a reader of the messages that no filter accepts. */
function filterOf({ from, prefix, matches }: NotificationOptions): ((message: Notification) => boolean) | undefined {
  if (from === undefined && prefix === undefined && matches === undefined) return undefined;
  const start = Buffer.from(messageBytes(prefix ?? ''));
  return (message) =>
    (from === undefined || message.from === from) &&
    start.equals(message.data.subarray(0, start.length)) &&
    (matches === undefined || matches(message));
}

/** Messages that an agent receives. Ends with the agent. End a reader with a filter, because it collects until then. */
export class Notifications implements AsyncIterableIterator<Notification> {
  readonly #hub: NotificationHub;
  readonly #queue: NotificationQueue;
  readonly #maxQueued: number;
  readonly #background: boolean;
  readonly #signal: AbortSignal | undefined;
  readonly #deadline: InvokeOptions['deadline'];
  #isLeft = false;
  #leave = (): void => {};
  #tail: Promise<unknown> = Promise.resolve();

  /** @internal */
  constructor(hub: NotificationHub, options: NotificationOptions) {
    NOTIFICATION_OPTIONS.check('agent.notifications options', options);
    const { signal, maxQueued = 1024, background = false } = options;
    this.#deadline = invokeOptions('agent.notifications', options).deadline;
    this.#hub = hub;
    this.#maxQueued = maxQueued;
    this.#background = background;
    this.#signal = signal;
    this.#queue = hub.open(maxQueued, filterOf(options));
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
    try {
      if (!this.#isLeft && !this.#queue.isReady && this.#hub.isOpen) {
        this.#signal?.throwIfAborted();
        await this.#wait();
      }
      const value = this.#isLeft ? undefined : this.#queue.take();
      return value === undefined ? { done: true, value } : { done: false, value };
    } catch (error) {
      // A reader that has ended must not collect messages.
      this.#isLeft ||= this.#queue.isOver;
      if (this.#isLeft || this.#signal?.aborted === true) this.#hub.close(this.#queue);
      throw error;
    }
  }

  #wait(): Promise<void> {
    return new Promise((resolve, reject) => {
      let end = (_: ReadEnd): void => {};
      const deadline = this.#deadline;
      const timer = deadline && setTimeout(() => end({ error: deadline.error() }), deadline.ms);
      if (this.#background) timer?.unref();
      const forget = this.#signal && onAbort([this.#signal], (reason) => end({ error: reason }));
      const settle = (outcome: ReadEnd): void => {
        forget?.();
        clearTimeout(timer);
        if ('error' in outcome) reject(outcome.error);
        else resolve();
      };
      this.#leave = () => end({});
      try {
        end = this.#hub.wait({
          queue: this.#queue,
          maxCount: this.#maxQueued,
          background: this.#background,
          settle,
        });
      } catch (error) {
        settle({ error });
      }
    });
  }

  /**
   * Ends the iteration. A `for await` loop that is left calls it. Messages that wait for a reader with a filter are
   * dropped; others stay for the next reader.
   */
  async return(): Promise<IteratorResult<Notification>> {
    this.#isLeft = true;
    this.#hub.close(this.#queue);
    this.#leave();
    return { done: true, value: undefined };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }
}
