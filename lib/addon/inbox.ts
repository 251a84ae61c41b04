import { ClosedError } from '../errors.js';
import { reasonOf } from './callback.js';
import { unpackFraming } from './codec.js';
import { arg, invoke, invokeSync, native } from './invoke.js';
import type { Bytes, Handle } from './native.js';
import { Sink } from './sink.js';

/** A call from the native side. */
export interface InboxRequest {
  readonly id: number;
  readonly method: string;
  /** The request id that the client chose, or empty. */
  readonly requestId: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly payload: Bytes;
  readonly sink: Sink;
  /** The request's items, if the request is a stream. */
  readonly input: Handle<'stream'> | undefined;
}

export interface InboxHandler {
  /**
   * Answers through `request.sink`. Its promise settles when the request no longer uses capacity. It must not reject.
   */
  request(request: InboxRequest): Promise<void>;
  /** The caller of a request cancelled it or disconnected. */
  lost(id: number, kind: 'stopped' | 'killed'): void;
}

export interface InboxOptions {
  /** The maximum number of concurrent requests. Others wait on the native side. */
  concurrency: number;
  /** Accepting alone does not keep the process alive. */
  background?: boolean;
}

/** A request (0), a cancellation (1), or a call that uses no capacity (2). */
type Event = [0 | 2, number, string, string, Record<string, string>, Bytes, number] | [1, number, 'stopped' | 'killed'];

/** Accepts requests until the native inbox is closed. */
export class Inbox {
  readonly #handle: Handle<'inbox'>;
  readonly #handler: InboxHandler;
  readonly #background: boolean;
  readonly #concurrency: number;
  /** Capacity that the native side does not know yet, and capacity that it knows. */
  #free: number;
  #granted = 0;
  #accepting = false;
  /** Settles when the native inbox is closed. */
  readonly ended: Promise<void>;

  constructor(handle: Handle<'inbox'>, handler: InboxHandler, options: InboxOptions) {
    this.#handle = handle;
    this.#handler = handler;
    this.#background = options.background === true;
    this.#concurrency = Math.min(options.concurrency, 2 ** 31);
    this.#free = this.#concurrency;
    this.ended = this.#run();
  }

  /** From now on no request waits for capacity: each is delivered at once. */
  lift(): void {
    invokeSync(native.inboxGrant, 'inbox.grant', { handle: this.#handle, a: arg('requestCount', 2 ** 31) });
  }

  close(): void {
    invokeSync(native.inboxClose, 'inbox.close', { handle: this.#handle });
  }

  async #run(): Promise<void> {
    for (;;) {
      try {
        const a = this.#free;
        this.#free = 0;
        this.#granted += a;
        this.#accepting = true;
        const parts = { handle: this.#handle, a: arg('requestCount', a) };
        const accepted = await invoke(native.inboxAccept, 'inbox.accept', parts, { background: this.#background });
        this.#accepting = false;
        this.#dispatch(accepted);
      } catch (error) {
        if (error instanceof ClosedError) return;
        throw error;
      }
    }
  }

  #dispatch(accepted: Bytes | [Bytes, ...Handle<'sink' | 'stream'>[]]): void {
    const [bytes, ...handles] = accepted instanceof Uint8Array ? [accepted] : accepted;
    let next = 0;
    for (const event of unpackFraming(bytes) as Event[]) {
      if (event[0] === 1) {
        this.#handler.lost(event[1], event[2]);
        continue;
      }
      const [tag, id, method, requestId, metadata, payload, count] = event;
      const [sink, input] = handles.slice(next, next + count) as [Handle<'sink'>, Handle<'stream'>?];
      next += count;
      const usesCapacity = tag === 0;
      if (usesCapacity) this.#granted -= 1;
      const request = { id, method, requestId, metadata, payload, sink: new Sink(sink), input };
      this.#handler.request(request).then(
        () => usesCapacity && this.#release(),
        (error: unknown) => this.#failed(error, usesCapacity),
      );
    }
  }

  /** A handler must not reject. If one does, only its request is lost. */
  #failed(error: unknown, usesCapacity: boolean): void {
    process.emitWarning(`a request was not answered: ${reasonOf(error)}`, { code: 'DYN_CALLBACK_FAILED' });
    if (usesCapacity) this.#release();
  }

  /** The next accept grants the capacity. It is granted at once only if the waiting accept may run out of it. */
  #release(): void {
    this.#free += 1;
    if (!this.#accepting || this.#granted * 2 > this.#concurrency) return;
    const a = this.#free;
    this.#free = 0;
    this.#granted += a;
    invokeSync(native.inboxGrant, 'inbox.grant', { handle: this.#handle, a: arg('requestCount', a) });
  }
}
