import { packArgs, unpack } from '../addon/codec.js';
import { arg, invoke, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { ClosedError } from '../errors.js';
import type { OptionTable } from '../options.js';
import { type CloseOptions, closeOptions } from '../runtime/close-options.js';
import type { RuntimeOptions } from '../runtime/config.js';
import { DistributedRuntime } from '../runtime/distributed-runtime.js';

const READY_TIMEOUT_MS = 60_000;
const CLOSE_TIMEOUT_MS = 30_000;
const CLOSE_OPTIONS: OptionTable<CloseOptions> = closeOptions(1);

/** What the native side returns for an input that has started. */
export interface Started {
  host: string;
  port: number;
  /** The inbox of requests to custom routes. */
  routes: Handle<'inbox'>;
  /** The processors, and the inbox of their requests. */
  processors: Handle<'processors'>;
  processing: Handle<'inbox'>;
  /** The inbox of a routing policy, and its counters. */
  scoring: [Handle<'inbox'>, Handle<'policy'>] | undefined;
}

/** One of Dynamo's inputs in this process, with its runtime. */
export abstract class Entrypoint implements AsyncDisposable {
  readonly #handle: Handle<'entrypoint'>;
  readonly #runtime: DistributedRuntime;
  readonly #noun: string;
  #closing: Promise<void> | undefined;
  /** Resolves when it answers requests. Rejects with the reason if it cannot start. */
  readonly ready: Promise<void>;
  /**
   * Settles when it has ended. Rejects with the reason if it ended without a `close`. The process stays alive until
   * then.
   */
  readonly ended: Promise<void>;

  /** @internal */
  protected constructor(handle: Handle<'entrypoint'>, runtime: DistributedRuntime, noun: string) {
    this.#handle = handle;
    this.#runtime = runtime;
    this.#noun = noun;
    this.ready = invoke(native.entrypointReady, `${noun} ready`, { handle, a: arg('timeoutMs', READY_TIMEOUT_MS) });
    this.ended = invoke(native.entrypointWait, noun, { handle });
    this.ready.catch(() => {});
    this.ended.catch(() => {});
  }

  /**
   * Stops accepting requests, waits for those in flight, and closes the runtime. `timeoutMs` bounds the wait for
   * requests, 30 s by default. Idempotent.
   */
  async close(options: CloseOptions = {}): Promise<void> {
    CLOSE_OPTIONS.check(`${this.#noun}.close options`, options);
    this.#closing ??= this.#close(options.timeoutMs ?? CLOSE_TIMEOUT_MS);
    return this.#closing;
  }

  protected checkOpen(operation: string): void {
    if (this.#closing !== undefined) throw new ClosedError(`the ${this.#noun}`, operation);
  }

  async #close(timeoutMs: number): Promise<void> {
    try {
      await invoke(native.entrypointClose, 'close', { handle: this.#handle, a: arg('timeoutMs', timeoutMs) });
    } finally {
      await this.#runtime.close({ timeoutMs });
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Starts an input on a runtime, or on a new runtime. Closes a new runtime again if the start fails. */
export async function startEntrypoint<T>(
  operation: string,
  runtime: DistributedRuntime | RuntimeOptions,
  args: Record<string, unknown>,
  create: (handle: Handle<'entrypoint'>, runtime: DistributedRuntime, started: Started) => T,
): Promise<T> {
  const owned = runtime instanceof DistributedRuntime ? runtime : await DistributedRuntime.create(runtime);
  try {
    const parts = { handle: owned.handle(operation), args: packArgs(args) };
    const [bytes, handle, routes, processors, processing, ...policy] = await invoke(
      native.entrypointStart,
      operation,
      parts,
    );
    const { host, port } = unpack(bytes) as Pick<Started, 'host' | 'port'>;
    const [inbox, counter] = policy;
    const scoring: Started['scoring'] = inbox === undefined || counter === undefined ? undefined : [inbox, counter];
    return create(handle, owned, { host, port, routes, processors, processing, scoring });
  } catch (error) {
    if (owned !== runtime) await owned.close();
    throw error;
  }
}
