import { unpack } from '../addon/codec.js';
import { invoke, native } from '../addon/invoke.js';
import { checkInteger, checkOptions } from '../check.js';
import { ClosedError } from '../errors.js';
import type { NixlAgent } from './agent.js';
import { limited } from './limit.js';

/** A message of a peer's. Those of one sender come in its order. */
export interface Notification {
  readonly from: string;
  readonly data: Uint8Array;
}

/** How notifications are read. */
export interface NotificationOptions {
  /** Rejects what is read next with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Rejects with `DYN_DEADLINE_EXCEEDED` where no message comes for so many milliseconds; reading may go on. @default no limit */
  readonly timeoutMs?: number;
  /** The most that are taken from the library's side at a time; the others wait there. @default 256 */
  readonly maxQueued?: number;
  /** Waiting for a message alone does not keep the process alive. @default false */
  readonly background?: boolean;
}

/** The messages that an agent receives. Ends with the agent; leaving the loop drops what was taken and not read. */
export class Notifications implements AsyncIterableIterator<Notification> {
  readonly #agent: NixlAgent;
  readonly #most: number;
  readonly #background: boolean;
  readonly #signal: AbortSignal | undefined;
  readonly #deadline: ReturnType<typeof limited>['deadline'];
  readonly #left = new AbortController();
  #queue: Notification[] = [];
  #next = 0;
  #tail: Promise<unknown> = Promise.resolve();

  /** @internal */
  constructor(agent: NixlAgent, options: NotificationOptions) {
    const path = 'agent.notifications options';
    checkOptions(path, options, ['signal', 'timeoutMs', 'maxQueued', 'background']);
    const { signal, maxQueued = 256, background = false } = options;
    this.#deadline = limited('agent.notifications', options).deadline;
    checkInteger(`${path}.maxQueued`, maxQueued, 1, 2 ** 20);
    this.#agent = agent;
    this.#most = maxQueued;
    this.#background = background;
    this.#signal = signal;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** The next notification, or the end. */
  next(): Promise<IteratorResult<Notification>> {
    // Reads that overlap are answered in their order.
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
        const handle = this.#agent.open('agent.notifications');
        const batch = await invoke(
          native.nixlAgentNotifications,
          'agent.notifications',
          { handle, a: this.#most },
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

  /** What leaving a `for await` loop calls: ends the iteration. */
  async return(): Promise<IteratorResult<Notification>> {
    this.#left.abort();
    return { done: true, value: undefined };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }
}
