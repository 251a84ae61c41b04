import { pack, packValue, unpack } from '../addon/codec.js';
import { invoke, invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { open, PullIterator, PullStream } from '../addon/stream.js';
import { checkTopic } from '../check.js';

/** A namespace, component or endpoint, by the names that are there. Scopes match exactly: an endpoint's events are not its namespace's. */
export interface Scope {
  readonly namespace?: string;
  readonly component?: string;
  readonly endpoint?: string;
}

/** One event as it was received. */
export interface Event<T> {
  readonly data: T;
  readonly topic: string;
  readonly publisherId: bigint;
  /** Counts a publisher's events from 0: a gap is a loss. */
  readonly sequence: number;
  /** Milliseconds since 1970, by the publisher's clock. */
  readonly publishedAt: number;
}

/**
 * Publishes events on one topic. Best effort: a subscriber that is slow or has not found this publisher yet misses them,
 * and nothing is kept.
 *
 * @example
 * const place = runtime.namespace('demo');
 * const events = await place.subscribe<{ load: number }>('load');
 * const publisher = await place.publisher<{ load: number }>('load');
 * await publisher.publish({ load: 0.5 });
 * for await (const { data, sequence } of events) console.log(sequence, data.load);
 */
export class EventPublisher<T = unknown> implements AsyncDisposable {
  #handle: Handle | undefined;

  private constructor(
    readonly topic: string,
    handle: Handle,
  ) {
    this.#handle = handle;
  }

  /** @internal */
  static async create<T>(runtime: Handle, scope: Scope, topic: string): Promise<EventPublisher<T>> {
    checkTopic('publisher topic', topic);
    const args = pack({ ...scope, topic });
    return new EventPublisher<T>(topic, await invoke(native.runtimePublisher, 'publisher', { handle: runtime, args }));
  }

  /** Resolves when the event is handed to the transport. */
  async publish(data: T): Promise<void> {
    const handle = open(this.#handle, 'the publisher', 'publisher.publish');
    await invoke(native.publisherPublish, 'publisher.publish', {
      handle,
      payload: packValue('publisher.publish', 'the event', data),
    });
  }

  /** Leaves discovery. Idempotent. */
  async close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    if (handle !== undefined) invokeSync(native.publisherClose, 'publisher.close', { handle });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

interface Envelope {
  publisherId: number | bigint;
  sequence: number;
  publishedAt: number;
  topic: string;
  payload: Uint8Array;
}

/** The events of one topic, from the moment the subscription is made. Leaving the loop ends it. */
export async function subscribe<T>(
  runtime: Handle,
  scope: Scope,
  topic: string,
): Promise<AsyncIterableIterator<Event<T>> & AsyncDisposable> {
  checkTopic('subscribe topic', topic);
  const args = pack({ ...scope, topic });
  const handle = await invoke(native.runtimeSubscribe, 'subscribe', { handle: runtime, args });
  return new PullIterator<Event<T>>(new PullStream(handle, 'subscribe'), ({ bytes }) => {
    const { payload, publisherId, ...rest } = unpack(bytes) as Envelope;
    return { ...rest, publisherId: BigInt(publisherId), data: unpack(payload) as T };
  });
}
