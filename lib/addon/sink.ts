import type { Failure } from '../errors.js';
import { pack } from './codec.js';
import { arg, invoke, invokeSync, native } from './invoke.js';
import type { Bytes, Handle } from './native.js';

const TAKEN = 0;
const FULL = 1;

/** The writing end of a native queue, bounded in bytes. */
export class Sink {
  readonly #handle: Handle<'sink'>;

  constructor(handle: Handle<'sink'>) {
    this.#handle = handle;
  }

  /**
   * Writes one item, whose bytes may be borrowed; `last` ends the stream after it. Returns true if it was taken, false
   * if no reader is left, a promise of either if the queue is full.
   */
  write(bytes: Bytes, annotated = false, last = false): boolean | Promise<boolean> {
    const written = this.#write(bytes, annotated, last);
    if (written !== FULL) return written === TAKEN;
    return this.#writeWhenReady(new Uint8Array(bytes), annotated, last);
  }

  async #writeWhenReady(bytes: Bytes, annotated: boolean, last: boolean): Promise<boolean> {
    for (;;) {
      const ready = await invoke(native.sinkReady, 'sink.ready', { handle: this.#handle }, { background: true });
      if (ready !== TAKEN) return false;
      const written = this.#write(bytes, annotated, last);
      if (written !== FULL) return written === TAKEN;
    }
  }

  #write(bytes: Bytes, annotated: boolean, last: boolean): number {
    return native.sinkWrite(
      this.#handle,
      undefined,
      bytes,
      arg('isAnnotated', annotated ? 1 : 0),
      arg('isLast', last ? 1 : 0),
      undefined,
    );
  }

  /** Sends the reader the notice that it waits for beside the items, if it waits for one. */
  notify(): void {
    invokeSync(native.sinkNotify, 'sink.notify', { handle: this.#handle });
  }

  end(failure?: Failure): void {
    invokeSync(native.sinkEnd, 'sink.end', {
      handle: this.#handle,
      args: failure === undefined ? undefined : packed(failure),
    });
  }
}

/** A failure as bytes. Details and causes of a peer may be nested too deep to be sent once more. */
function packed(failure: Failure): Bytes {
  try {
    return pack(failure);
  } catch {
    const { class: errorClass, reason, message } = failure;
    return pack({ class: errorClass, reason, message });
  }
}
