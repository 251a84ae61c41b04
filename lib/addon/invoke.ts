import { errorFrom, type Failure } from '../errors.js';
import { unpack } from './codec.js';
import { native } from './load.js';
import type { Async, Bytes, CallParts, Given, Sync } from './native.js';

export { arg } from './native/call.js';
export { native };

type Deliver = (failed: boolean, value: unknown) => void;

const WAITING = Symbol.for('dynamo-node.waiting');

/** Stored on the addon, because copies of this package that load the same file share its mailbox. */
const waiting = ((native as { [WAITING]?: Map<number, Deliver> })[WAITING] ??= openMailbox());

function openMailbox(): Map<number, Deliver> {
  const opened = new Map<number, Deliver>();
  native.open((batch) => {
    for (let index = 0; index < batch.length; index += 3) {
      const op = batch[index] as number;
      const deliver = opened.get(op);
      opened.delete(op);
      deliver?.(batch[index + 1] as boolean, batch[index + 2]);
    }
  });
  return opened;
}

/**
 * Runs a synchronous native function.
 *
 * @throws DynamoError that names `operation`
 */
export function invokeSync<Result, Parts>(
  fn: Sync<Result, Parts>,
  operation: string,
  ...parts: Given<NoInfer<Parts>>
): Result;
export function invokeSync(fn: (...parts: never[]) => unknown, operation: string, parts: CallParts = {}): unknown {
  const { handle, args, payload, a, b, other } = parts;
  try {
    return (fn as Sync<unknown, CallParts>)(handle, args, payload, a, b, other);
  } catch (error) {
    const { failure } = error as { failure?: Bytes };
    if (failure === undefined) throw error;
    throw errorFrom(unpack(failure) as Failure, operation);
  }
}

export interface InvokeOptions {
  /** Rejects with the signal's reason and cancels the operation. */
  signal?: AbortSignal | undefined;
  /** After `ms` milliseconds, rejects with the error that `error` returns and cancels the operation. */
  deadline?: { ms: number; error(): Error } | undefined;
  /** The operation alone does not keep the process alive. */
  background?: boolean;
  /** A cancelled operation still resolves if its result is in flight, because a dropped result would be lost. */
  lossless?: boolean;
}

/** Starts an asynchronous native function. Its result or its failure settles the promise. */
export function invoke<Result, Parts>(
  fn: Async<Result, Parts>,
  operation: string,
  ...rest: Given<NoInfer<Parts>, [options?: InvokeOptions]>
): Promise<Result>;
export function invoke(
  fn: (...parts: never[]) => number,
  operation: string,
  parts: CallParts = {},
  options: InvokeOptions = {},
): Promise<unknown> {
  const { signal, deadline } = options;
  if (signal?.aborted === true) return Promise.reject(signal.reason);
  return new Promise((resolve, reject) => {
    const { handle, args, payload, a, b, other } = parts;
    const start = fn as Async<unknown, CallParts>;
    const op = start(handle, args, payload, a, b, other, options.background === true);
    const settle: Deliver = (failed, value) => {
      if (failed) reject(errorFrom(unpack(value as Bytes) as Failure, operation));
      else resolve(value);
    };
    if (signal === undefined && deadline === undefined) {
      waiting.set(op, settle);
      return;
    }
    const onAbort = (): void => abandon(signal?.reason);
    const timer = deadline === undefined ? undefined : setTimeout(() => abandon(deadline.error()), deadline.ms);
    if (options.background === true) timer?.unref();
    signal?.addEventListener('abort', onAbort, { once: true });
    const stopWaiting = (): void => {
      signal?.removeEventListener('abort', onAbort);
      clearTimeout(timer);
    };
    const abandon = (reason: unknown): void => {
      stopWaiting();
      if (options.lossless === true) waiting.set(op, (failed, value) => (failed ? reject(reason) : resolve(value)));
      else waiting.delete(op);
      native.cancel(op);
      if (options.lossless !== true) reject(reason);
    };
    waiting.set(op, (failed, value) => {
      stopWaiting();
      settle(failed, value);
    });
  });
}
