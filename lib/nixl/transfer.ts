import { pack, unpack } from '../addon/codec.js';
import { invoke, invokeSync, native } from '../addon/invoke.js';
import type { Bytes, Handle } from '../addon/native.js';
import { checkOptions, checkString, wrongType } from '../check.js';
import { ClosedError } from '../errors.js';
import type { NixlAgent } from './agent.js';
import { kept, limited, onlyLimited, type WaitLimit, waited } from './limit.js';
import { messageBytes } from './peer.js';

/** How to make a transfer. */
export interface TransferSetup {
  /** The backend that must carry it. @default any that both sides share */
  readonly backend?: string;
  /** The backend's own parameter, such as `worker_id=1` for UCX. Needs NIXL 1.5. */
  readonly customParam?: string;
}

/** How to make a transfer, and how long to wait for it. What comes after the limit is released again. */
export interface PrepareOptions extends TransferSetup, WaitLimit {}

/** What goes with one run of a transfer. */
export interface PostOptions extends WaitLimit {
  /** A message for the peer, which it gets when all bytes are there. */
  readonly notify?: Uint8Array | string;
  /** Whether up to 64 KiB may be posted on the thread of JavaScript, which costs it the time of the copy. @default true */
  readonly inline?: boolean;
}

export interface TransferOptions extends TransferSetup, PostOptions {}

/** A run that is done: every byte is where it belongs. */
export interface TransferResult {
  readonly bytes: number;
  /** From its post to the moment its end was seen. */
  readonly durationMs: number;
}

/** The library's own measurements of a transfer's last run; `transferUs` includes the post. */
export interface TransferTelemetry {
  /** By the machine's steady clock. */
  readonly startUs: number;
  readonly postUs: number;
  readonly transferUs: number;
  readonly bytes: number;
  readonly descriptors: number;
}

/** The backend's own estimate of a transfer, in microseconds. */
export interface CostEstimate {
  readonly durationUs: number;
  readonly marginUs: number;
}

/** Up to this many bytes a transfer may be posted on the thread of JavaScript: the copy takes less time than the way to another. */
export const INLINE_BYTES = 64 * 1024;

/** The usual case, which need not be looked through. */
export const NO_OPTIONS: TransferOptions = Object.freeze({});
const NO_LIMIT = Object.freeze({});

export const resultOf = (bytes: number, nanoseconds: number): TransferResult => ({
  bytes,
  durationMs: nanoseconds / 1e6,
});

const KNOWN = ['signal', 'timeoutMs', 'notify', 'inline', 'backend', 'customParam'];

export interface Posting {
  readonly limit: ReturnType<typeof limited>;
  readonly args: Uint8Array | undefined;
  readonly notifies: boolean;
  readonly inline: boolean;
}

const PLAIN: Posting = { limit: NO_LIMIT, args: undefined, notifies: false, inline: true };

/** Checks the options of one run, or of all runs of a transfer. */
export function postingOf(operation: string, options: TransferOptions): Posting {
  if (options === NO_OPTIONS) return PLAIN;
  const path = `${operation} options`;
  checkOptions(path, options, KNOWN);
  const { notify, inline = true, backend, customParam } = options;
  if (typeof inline !== 'boolean') wrongType(`${path}.inline`, 'a boolean', inline);
  if (backend !== undefined) checkString(`${path}.backend`, backend);
  if (customParam !== undefined) checkString(`${path}.customParam`, customParam);
  const notification = notify === undefined ? undefined : messageBytes(`${path}.notify`, notify);
  const isPlain = notification === undefined && backend === undefined && customParam === undefined;
  const args = isPlain ? undefined : pack({ notification, backend, custom: customParam });
  return { limit: limited(operation, options), args, notifies: notification !== undefined, inline: inline && isPlain };
}

/** Waits for a transfer that a call on this thread has begun. */
export function waitFor(
  operation: string,
  handle: Handle,
  bytes: number,
  limit: ReturnType<typeof limited>,
): Promise<TransferResult> {
  return invoke(native.nixlTransferWait, operation, { handle }, limit).then((nanoseconds) =>
    resultOf(bytes, nanoseconds),
  );
}

/**
 * A transfer that is made once and posted many times. Between an abort and the end of the bytes it cannot be posted; its
 * memory stays meanwhile.
 */
export class PreparedTransfer implements AsyncDisposable {
  #handle: Handle | undefined;
  #released: Promise<void> = Promise.resolve();

  private constructor(
    private readonly agent: NixlAgent,
    handle: Handle,
    /** Of one run. */
    readonly bytes: number,
  ) {
    this.#handle = handle;
  }

  /** @internal */
  static of(agent: NixlAgent, [report, handle]: [Bytes, Handle]): PreparedTransfer {
    const { bytes } = unpack(report) as { bytes: number };
    return new PreparedTransfer(agent, handle, bytes);
  }

  /**
   * Moves the bytes. Up to 64 KiB without a notification it is done on this thread when the library is free: the promise
   * is settled when this returns.
   */
  post(options: PostOptions = NO_OPTIONS): Promise<TransferResult> {
    const operation = 'transfer.post';
    const { limit, args, inline } = postingOf(operation, options);
    const handle = this.#open(operation);
    if (limit.signal?.aborted === true) return Promise.reject(limit.signal.reason);
    if (inline && this.bytes <= INLINE_BYTES) {
      try {
        const done = invokeSync(native.nixlTransferPostInline, operation, { handle });
        if (typeof done === 'number') return Promise.resolve(resultOf(this.bytes, done));
        if (done === undefined) return waitFor(operation, handle, this.bytes, limit);
      } catch (error) {
        return Promise.reject(error);
      }
    }
    return invoke(native.nixlTransferPost, operation, { handle, args }, limit).then((nanoseconds) =>
      resultOf(this.bytes, nanoseconds),
    );
  }

  /** How long the backend thinks that a run takes. */
  async estimate(limit: WaitLimit = {}): Promise<CostEstimate> {
    const operation = 'transfer.estimate';
    return unpack(
      await invoke(
        native.nixlTransferEstimate,
        operation,
        { handle: this.#open(operation) },
        onlyLimited(operation, limit),
      ),
    ) as CostEstimate;
  }

  /** What the library measured of the last run. The agent must have been created with `telemetry`. */
  async telemetry(limit: WaitLimit = {}): Promise<TransferTelemetry> {
    const operation = 'transfer.telemetry';
    return unpack(
      await invoke(
        native.nixlTransferTelemetry,
        operation,
        { handle: this.#open(operation) },
        onlyLimited(operation, limit),
      ),
    ) as TransferTelemetry;
  }

  /**
   * Gives it up; a run under way fails with `nixl.aborted`, its memory stays until it has ended. A limit ends the wait, not
   * the release. Idempotent.
   */
  async release(limit: WaitLimit = {}): Promise<void> {
    const options = onlyLimited('transfer.release', limit);
    const handle = this.#handle;
    this.#handle = undefined;
    if (handle !== undefined) this.#released = kept(invoke(native.nixlTransferRelease, 'transfer.release', { handle }));
    return waited(options, () => this.#released);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }

  #open(operation: string): Handle {
    if (this.#handle === undefined) throw new ClosedError('the transfer', operation);
    this.agent.open(operation);
    return this.#handle;
  }
}
