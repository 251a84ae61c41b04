import { wrongType } from '../check.js';
import { NixlError } from '../errors.js';

/** A message from a peer. Messages of one sender arrive in order. Readers of the same message share its bytes. */
export interface Notification {
  readonly from: string;
  readonly data: Uint8Array;
}

/** The most bytes of messages that wait for a reader: twice as many as the native side hands over at a time. */
const MAX_BYTES = 16 * 2 ** 20;

/** Messages that wait for a reader. If too many wait, the oldest are dropped, and the reader gets an error first. */
export class NotificationQueue {
  readonly #messages: Notification[] = [];
  #bytes = 0;
  #lost = 0;
  #failure: { readonly error: unknown } | undefined;

  /** @param accepts whether a message is for the reader; a queue without it takes those that no other one takes */
  constructor(
    readonly maxCount: number,
    private readonly accepts?: (message: Notification) => boolean,
  ) {}

  /** How many messages can arrive before one is dropped. */
  get free(): number {
    return this.maxCount - this.#messages.length;
  }

  /** Whether a read returns at once. */
  get isReady(): boolean {
    return this.#messages.length > 0 || this.#lost > 0 || this.hasFailed;
  }

  /** Whether the filter has thrown. No message arrives after that. */
  get hasFailed(): boolean {
    return this.#failure !== undefined;
  }

  /** Whether only the error of the filter is left. */
  get isOver(): boolean {
    return this.hasFailed && this.#messages.length === 0;
  }

  push(message: Notification): void {
    this.#messages.push(message);
    this.#bytes += message.data.byteLength;
    while (this.#messages.length > 1 && (this.#messages.length > this.maxCount || this.#bytes > MAX_BYTES)) {
      this.#shift();
      this.#lost += 1;
    }
  }

  /** Takes a message if it is for the reader. An error of the reader's filter is the result of its next read. */
  offer(message: Notification): boolean {
    if (this.hasFailed || this.accepts === undefined) return false;
    try {
      const accepted: unknown = this.accepts(message);
      if (typeof accepted !== 'boolean') wrongType('agent.notifications options.matches', 'a boolean result', accepted);
      if (accepted) this.push(message);
      return accepted;
    } catch (error) {
      this.#failure = { error };
      return false;
    }
  }

  /** Offers every message to another queue, which keeps those that it accepts. */
  offerTo(other: NotificationQueue): void {
    const left = this.#messages.splice(0).filter((message) => !other.offer(message));
    this.#messages.push(...left);
    this.#bytes = left.reduce((sum, { data }) => sum + data.byteLength, 0);
  }

  /** The next message. @throws NixlError once if messages before it were dropped; what the filter has thrown */
  take(): Notification | undefined {
    const lost = this.#lost;
    if (lost > 0) {
      this.#lost = 0;
      throw new NixlError(
        'CapacityExhausted',
        `agent.notifications: ${lost} messages were dropped, because too many waited for this reader; read faster, ` +
          'or set a larger maxQueued',
        { reason: 'nixl.notifications_lost', operation: 'agent.notifications', details: { lost } },
      );
    }
    const message = this.#shift();
    if (message === undefined && this.#failure !== undefined) throw this.#failure.error;
    return message;
  }

  #shift(): Notification | undefined {
    const message = this.#messages.shift();
    this.#bytes -= message?.data.byteLength ?? 0;
    return message;
  }
}
