import { ClosedError } from '../errors.js';
import type { Handle } from './native.js';

/** An object that owns a native handle until its close. */
export abstract class Closeable<Noun extends string> implements AsyncDisposable {
  #handle: Handle<Noun> | undefined;
  #closing: Promise<void> | undefined;
  readonly #noun: string;

  /** `noun` names the object in the message of a `ClosedError`. @internal */
  protected constructor(noun: string, handle: Handle<Noun>) {
    this.#noun = noun;
    this.#handle = handle;
  }

  /** The handle. @throws ClosedError after the close. @internal */
  protected handle(operation: string): Handle<Noun> {
    if (this.#handle === undefined) throw new ClosedError(this.#noun, operation);
    return this.#handle;
  }

  /** @internal */
  protected get isOpen(): boolean {
    return this.#handle !== undefined;
  }

  /** Closes the native object. Called once. @internal */
  protected abstract closeHandle(handle: Handle<Noun>): void | Promise<void>;

  /** Closes the object. Every later call fails with `ClosedError`. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const handle = this.#handle as Handle<Noun>;
    this.#handle = undefined;
    await this.closeHandle(handle);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Like `Closeable`, for an object whose end is synchronous. */
export abstract class DisposableHandle<Noun extends string> implements Disposable {
  #handle: Handle<Noun> | undefined;
  readonly #noun: string;

  /** @internal */
  protected constructor(noun: string, handle: Handle<Noun>) {
    this.#noun = noun;
    this.#handle = handle;
  }

  /** The handle. @throws ClosedError after `dispose`. @internal */
  protected handle(operation: string): Handle<Noun> {
    if (this.#handle === undefined) throw new ClosedError(this.#noun, operation);
    return this.#handle;
  }

  /** Frees the native object. Called once. @internal */
  protected abstract disposeHandle(handle: Handle<Noun>): void;

  /** Frees the object. Every later call fails with `ClosedError`. Idempotent. */
  dispose(): void {
    const handle = this.#handle;
    this.#handle = undefined;
    if (handle !== undefined) this.disposeHandle(handle);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
