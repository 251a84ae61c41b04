import { pack, unpack } from '../addon/codec.js';
import { type InvokeOptions, invoke, invokeSync, native } from '../addon/invoke.js';
import type { Bytes, Handle } from '../addon/native.js';
import { ClosedError } from '../errors.js';
import { boolean, custom, type OptionTable, optionTable, text } from '../options.js';
import type { NixlAgent } from './agent.js';
import { completed, countInline, hasInlineTime, looks, MAX_INLINE_BYTES } from './inline.js';
import { checkedLimit, handled, invokeOptions, LIMIT_ROWS, type WaitLimit, withinLimit } from './limit.js';
import type { MemoryRegion } from './memory.js';
import { checkMessage, messageBytes } from './peer.js';

/** How a transfer is made. */
export interface TransferSetup {
  /** The backend that must carry the transfer. @default any backend that both sides have */
  readonly backend?: string;
  /** A parameter of the backend, such as `worker_id=1` for UCX. Needs NIXL 1.5. */
  readonly customParam?: string;
}

/**
 * How a transfer is prepared, and how long to wait for it. A transfer that is made after the limit is released again.
 */
export interface PrepareOptions extends TransferSetup, WaitLimit {}

/** Options of one run of a transfer. */
export interface PostOptions extends WaitLimit {
  /** A message for the peer. The peer receives it after all bytes. */
  readonly notify?: Uint8Array | string;
  /**
   * Whether the transfer may be posted on the JavaScript thread. It is, if earlier ones with this peer show that the
   * post takes less than 50 us. Before the first one that is expected of up to 64 KiB.
   *
   * @default true
   */
  readonly inline?: boolean;
}

/** Options of a transfer that is made and run once. */
export interface TransferOptions extends TransferSetup, PostOptions {}

/** The result of a completed run: every byte is in place. */
export interface TransferResult {
  readonly bytes: number;
  /** The time from the post until the completion was seen. */
  readonly durationMs: number;
}

/**
 * The library's measurements of the last run of a transfer. `transferUs` includes the post, and ends when the package
 * has seen the end. A transfer of over 8 MiB runs in pieces: `postUs` is the sum of their posts.
 */
export interface TransferTelemetry {
  /** On the machine's steady clock. */
  readonly startUs: number;
  readonly postUs: number;
  readonly transferUs: number;
  readonly bytes: number;
  readonly descriptors: number;
}

/** The backend's estimate of a transfer, in microseconds. */
export interface CostEstimate {
  readonly durationUs: number;
  readonly marginUs: number;
}

/** The usual case, which needs no check. */
export const NO_OPTIONS: TransferOptions = Object.freeze({});
const NO_LIMIT: InvokeOptions = Object.freeze({});

export const resultOf = (bytes: number, nanoseconds: number): TransferResult => ({
  bytes,
  durationMs: nanoseconds / 1e6,
});

const SETUP_ROWS = {
  backend: text.about('The backend that must carry the transfer.'),
  customParam: text.about('A parameter of the backend.'),
};

const POST_ROWS = {
  notify: custom<Uint8Array | string>('a Uint8Array or a string', checkMessage).about('A message for the peer.'),
  inline: boolean.about('Whether a short post may run on the JavaScript thread.'),
  ...LIMIT_ROWS,
};

/** @internal */
export const TRANSFER_OPTIONS: OptionTable<TransferOptions> = optionTable<TransferOptions>({
  ...SETUP_ROWS,
  ...POST_ROWS,
});

/** @internal */
export const PREPARE_OPTIONS: OptionTable<PrepareOptions> = optionTable<PrepareOptions>({
  ...SETUP_ROWS,
  ...LIMIT_ROWS,
});

const POST_OPTIONS: OptionTable<PostOptions> = optionTable<PostOptions>(POST_ROWS);

/** Options of a transfer in their native form. */
export interface Posting {
  readonly limit: InvokeOptions;
  readonly args: Uint8Array | undefined;
  readonly notifies: boolean;
  readonly inline: boolean;
}

const PLAIN: Posting = { limit: NO_LIMIT, args: undefined, notifies: false, inline: true };

/** Checks the options of a transfer with their table, and converts them. */
export function postingOf<Options extends TransferOptions>(
  operation: string,
  options: Options,
  table: OptionTable<Options>,
): Posting {
  if (options === NO_OPTIONS) return PLAIN;
  table.check(`${operation} options`, options);
  const { notify, inline = true, backend, customParam } = options;
  const notification = notify === undefined ? undefined : messageBytes(notify);
  const isPlain = notification === undefined && backend === undefined && customParam === undefined;
  const args = isPlain ? undefined : pack({ notification, backend, custom: customParam });
  return {
    limit: invokeOptions(operation, options),
    args,
    notifies: notification !== undefined,
    inline,
  };
}

/** Waits for a transfer that was posted on this thread. */
export function waitForTransfer(
  operation: string,
  handle: Handle<'nixlTransfer'>,
  bytes: number,
  limit: InvokeOptions,
): Promise<TransferResult> {
  return invoke(native.nixlTransferWait, operation, { handle }, limit).then((nanoseconds) =>
    resultOf(bytes, nanoseconds),
  );
}

/**
 * A transfer that is made once and posted many times. After an abort it cannot be posted until the aborted run has
 * ended. Its memory stays registered until then.
 */
export class PreparedTransfer implements AsyncDisposable {
  #handle: Handle<'nixlTransfer'> | undefined;
  #released: Promise<void> = Promise.resolve();

  private constructor(
    private readonly agent: NixlAgent,
    handle: Handle<'nixlTransfer'>,
    /** The bytes of one run. */
    readonly bytes: number,
    private readonly borrowed: readonly MemoryRegion[],
  ) {
    this.#handle = handle;
  }

  /** @internal */
  static of(
    agent: NixlAgent,
    [report, handle]: [Bytes, Handle<'nixlTransfer'>],
    borrowed: readonly MemoryRegion[],
  ): PreparedTransfer {
    const { bytes } = unpack(report) as { bytes: number };
    return new PreparedTransfer(agent, handle, bytes, borrowed);
  }

  /**
   * Moves the bytes. A short post runs on this thread if the library is free; see `inline`. If it completes at once,
   * the returned promise is already settled. It settles in the next turn of the event loop if posts of this turn have
   * taken 0.75 ms.
   */
  post(options: PostOptions = NO_OPTIONS): Promise<TransferResult> {
    const operation = 'transfer.post';
    const { limit, args, inline } = postingOf(operation, options, POST_OPTIONS);
    const handle = this.#open(operation);
    if (limit.signal?.aborted === true) return Promise.reject(limit.signal.reason);
    try {
      for (const region of this.borrowed) region.assertAttached(operation);
    } catch (error) {
      return Promise.reject(error);
    }
    if (inline && this.bytes <= MAX_INLINE_BYTES && hasInlineTime()) {
      try {
        const done = invokeSync(native.nixlTransferPostInline, operation, { handle, args, b: looks() });
        if (typeof done === 'number') {
          countInline(done);
          return completed(resultOf(this.bytes, done));
        }
        if (done === undefined) {
          countInline();
          return waitForTransfer(operation, handle, this.bytes, limit);
        }
      } catch (error) {
        return Promise.reject(error);
      }
    }
    return invoke(native.nixlTransferPost, operation, { handle, args }, limit).then((nanoseconds) =>
      resultOf(this.bytes, nanoseconds),
    );
  }

  /** The backend's estimate of how long a run takes. UCX of NIXL 1.5.1 estimates 0 for small transfers. */
  async estimate(limit: WaitLimit = {}): Promise<CostEstimate> {
    const operation = 'transfer.estimate';
    return unpack(
      await invoke(
        native.nixlTransferEstimate,
        operation,
        { handle: this.#open(operation) },
        checkedLimit(operation, limit),
      ),
    ) as CostEstimate;
  }

  /** The library's measurements of the last run. Needs an agent that was created with `telemetry`. */
  async telemetry(limit: WaitLimit = {}): Promise<TransferTelemetry> {
    const operation = 'transfer.telemetry';
    return unpack(
      await invoke(
        native.nixlTransferTelemetry,
        operation,
        { handle: this.#open(operation) },
        checkedLimit(operation, limit),
      ),
    ) as TransferTelemetry;
  }

  /**
   * Releases the transfer. A run in flight fails with `nixl.aborted`; its memory stays registered until the run has
   * ended. A limit ends the wait, not the release. Idempotent.
   */
  async release(limit: WaitLimit = {}): Promise<void> {
    const options = checkedLimit('transfer.release', limit);
    const handle = this.#handle;
    this.#handle = undefined;
    if (handle !== undefined)
      this.#released = handled(invoke(native.nixlTransferRelease, 'transfer.release', { handle }));
    return withinLimit(options, () => this.#released);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }

  #open(operation: string): Handle<'nixlTransfer'> {
    if (this.#handle === undefined) throw new ClosedError('the transfer', operation);
    this.agent.handle(operation);
    return this.#handle;
  }
}
