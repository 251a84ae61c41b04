import { errorFrom, type Failure } from '../errors.js';
import { onAbort } from './aborts.js';
import { reasonOf } from './callback.js';
import { unpack } from './codec.js';
import { native } from './load.js';
import { shareTexts } from './msgpack/decode.js';
import type { Async, Bytes, CallParts, Given, Sync } from './native.js';

export { arg } from './native/call.js';
export { native };

shareTexts(native.textOver);

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
      try {
        deliver?.(batch[index + 1] as boolean, batch[index + 2]);
      } catch (error) {
        // The rest of the batch is not lost with it.
        process.emitWarning(`a completion was not delivered: ${reasonOf(error)}`, { code: 'DYN_CALLBACK_FAILED' });
      }
    }
  });
  return opened;
}

/** The error of a failed operation. If the failure cannot be read, the error says that. */
function failedWith(value: unknown, operation: string): unknown {
  try {
    return errorFrom(unpack(value as Bytes) as Failure, operation);
  } catch (error) {
    return error;
  }
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
    throw failedWith(failure, operation);
  }
}

export interface InvokeOptions {
  /** Rejects with the signal's reason and cancels the operation. */
  signal?: AbortSignal | undefined;
  /** The same for each of several signals. */
  signals?: readonly AbortSignal[] | undefined;
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
  const { deadline } = options;
  const signals = options.signals ?? (options.signal === undefined ? undefined : [options.signal]);
  const aborted = signals?.find((signal) => signal.aborted);
  if (aborted !== undefined) return Promise.reject(aborted.reason);
  return new Promise((resolve, reject) => {
    const { handle, args, payload, a, b, other } = parts;
    const start = fn as Async<unknown, CallParts>;
    const op = start(handle, args, payload, a, b, other, options.background === true);
    const settle: Deliver = (failed, value) => {
      if (failed) reject(failedWith(value, operation));
      else resolve(value);
    };
    if (signals === undefined && deadline === undefined) {
      waiting.set(op, settle);
      return;
    }
    const timer = deadline === undefined ? undefined : setTimeout(() => abandon(lateness(deadline)), deadline.ms);
    if (options.background === true) timer?.unref();
    const forget = signals === undefined ? undefined : onAbort(signals, (reason) => abandon(reason));
    const stopWaiting = (): void => {
      forget?.();
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

/** The error of a deadline. Making it may fail too, and a timer has no caller that could catch that. */
function lateness({ error }: { error(): Error }): unknown {
  try {
    return error();
  } catch (failure) {
    return failure;
  }
}
