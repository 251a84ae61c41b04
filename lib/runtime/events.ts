import { reasonOf } from '../addon/callback.js';
import { Closeable } from '../addon/closeable.js';
import { pack, packValue, unpack } from '../addon/codec.js';
import { invoke, invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { NativeStream, StreamIterator } from '../addon/stream.js';
import { checkTopic } from '../check.js';

/**
 * A namespace, component or endpoint, by its names. Scopes match exactly: a namespace does not include its endpoints.
 */
export interface Scope {
  readonly namespace?: string;
  readonly component?: string;
  readonly endpoint?: string;
}

/** One received event. */
export interface Event<T> {
  readonly data: T;
  readonly topic: string;
  readonly publisherId: bigint;
  /** The number of the event at its publisher, from 0. A gap is a loss. */
  readonly sequence: number;
  /** Milliseconds since 1970, by the publisher's clock. */
  readonly publishedAt: number;
}

/**
 * Publishes events on one topic. Delivery is best effort: events are not stored. A subscriber misses events if it is
 * slow, or before it has found this publisher.
 *
 * @example
 * const place = runtime.namespace('demo');
 * const events = await place.subscribe<{ load: number }>('load');
 * const publisher = await place.publisher<{ load: number }>('load');
 * await publisher.publish({ load: 0.5 });
 * for await (const { data, sequence } of events) console.log(sequence, data.load);
 */
export class EventPublisher<T = unknown> extends Closeable<'publisher'> {
  private constructor(
    readonly topic: string,
    handle: Handle<'publisher'>,
  ) {
    super('the publisher', handle);
  }

  /** @internal */
  static async create<T>(runtime: Handle<'runtime'>, scope: Scope, topic: string): Promise<EventPublisher<T>> {
    checkTopic('publisher topic', topic);
    const args = pack({ ...scope, topic });
    return new EventPublisher<T>(topic, await invoke(native.runtimePublisher, 'publisher', { handle: runtime, args }));
  }

  /** Publishes one event. Resolves when the transport has it. */
  async publish(data: T): Promise<void> {
    const handle = this.handle('publisher.publish');
    await invoke(native.publisherPublish, 'publisher.publish', {
      handle,
      payload: packValue('publisher.publish', 'the event', data),
    });
  }

  /** Leaves discovery. @internal */
  protected override closeHandle(handle: Handle<'publisher'>): void {
    invokeSync(native.publisherClose, 'publisher.close', { handle });
  }
}

interface Envelope {
  publisherId: number | bigint;
  sequence: number;
  publishedAt: number;
  topic: string;
  payload: Uint8Array;
}

/** The events of one topic, from the time of the subscription. Leaving the loop ends it. */
export interface EventSubscription<T> extends AsyncIterableIterator<Event<T>>, AsyncDisposable {
  /**
   * The number of events that could not be read, because a peer may publish any bytes. The first one is reported as a
   * warning `DYN_EVENT_SKIPPED` of the process.
   */
  readonly skipped: number;
}

class Subscription<T> extends StreamIterator<Event<T>> implements EventSubscription<T> {
  #skipped = 0;

  constructor(
    handle: Handle<'stream'>,
    private readonly topic: string,
    private readonly read: (payload: Uint8Array) => T,
  ) {
    super(new NativeStream(handle, 'subscribe'), ({ bytes }) => this.#event(bytes));
  }

  get skipped(): number {
    return this.#skipped;
  }

  #event(bytes: Uint8Array): Event<T> | undefined {
    const { payload, publisherId, ...rest } = unpack(bytes) as Envelope;
    try {
      return { ...rest, publisherId: BigInt(publisherId), data: this.read(payload) };
    } catch (error) {
      this.#skip(publisherId, error);
      return undefined;
    }
  }

  #skip(publisherId: number | bigint, error: unknown): void {
    if (this.#skipped++ > 0) return;
    const message = `topic ${this.topic}: an event of publisher ${publisherId} was skipped: ${reasonOf(error)}`;
    process.emitWarning(message, { code: 'DYN_EVENT_SKIPPED' });
  }
}

/** Subscribes to a topic. `read` reads a payload. */
export async function subscribe<T>(
  runtime: Handle<'runtime'>,
  scope: Scope,
  topic: string,
  read: (payload: Uint8Array) => T = (payload) => unpack(payload) as T,
): Promise<EventSubscription<T>> {
  checkTopic('subscribe topic', topic);
  const args = pack({ ...scope, topic });
  const handle = await invoke(native.runtimeSubscribe, 'subscribe', { handle: runtime, args });
  return new Subscription<T>(handle, topic, read);
}
