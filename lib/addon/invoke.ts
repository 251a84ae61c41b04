import { errorFrom, type Failure } from '../errors.js';
import { unpack } from './codec.js';
import { native } from './load.js';
import type { Async, Bytes, Handle, Nothing, Payload, Sync } from './native.js';

export { native };

/** What a call may carry; see `dyn_call` in `native/core/include/dynamo_core.h`. */
export interface CallParts {
  handle?: Handle | Nothing;
  other?: Handle | Nothing;
  args?: Bytes | Nothing;
  payload?: Payload | Nothing;
  a?: number;
  b?: number;
}

type Deliver = (failed: boolean, value: unknown) => void;

const WAITING = Symbol.for('dynamo-node.waiting');

/** Kept at the addon itself: copies of this package that load the same file share its one mailbox. */
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

/** Runs a synchronous native function; its failure is thrown as an error that names `operation`. */
export function invokeSync<Result>(fn: Sync<Result>, operation: string, parts: CallParts = {}): Result {
  try {
    return fn(parts.handle, parts.args, parts.payload, parts.a, parts.b, parts.other);
  } catch (error) {
    const { failure } = error as { failure?: Bytes };
    if (failure === undefined) throw error;
    throw errorFrom(unpack(failure) as Failure, operation);
  }
}

export interface InvokeOptions {
  /** Rejects with the signal's reason and cancels the operation. */
  signal?: AbortSignal | undefined;
  /** Rejects with the error it makes and cancels the operation, after so many milliseconds. */
  deadline?: { ms: number; error(): Error } | undefined;
  /** The operation alone does not keep the process alive. */
  background?: boolean;
  /** What the operation takes is lost where nobody gets it: a result that is on its way when it is given up still comes. */
  lossless?: boolean;
}

/** Starts an asynchronous native function. */
export function invoke<Result>(
  fn: Async<Result>,
  operation: string,
  parts: CallParts = {},
  options: InvokeOptions = {},
): Promise<Result> {
  const { signal, deadline } = options;
  if (signal?.aborted === true) return Promise.reject(signal.reason);
  return new Promise<Result>((resolve, reject) => {
    const { handle, args, payload, a, b, other } = parts;
    const op = fn(handle, args, payload, a, b, other, options.background === true);
    const settle: Deliver = (failed, value) => {
      if (failed) reject(errorFrom(unpack(value as Bytes) as Failure, operation));
      else resolve(value as Result);
    };
    if (signal === undefined && deadline === undefined) {
      waiting.set(op, settle);
      return;
    }
    const onAbort = (): void => giveUp(signal?.reason);
    const timer = deadline === undefined ? undefined : setTimeout(() => giveUp(deadline.error()), deadline.ms);
    if (options.background === true) timer?.unref();
    signal?.addEventListener('abort', onAbort, { once: true });
    const forget = (): void => {
      signal?.removeEventListener('abort', onAbort);
      clearTimeout(timer);
    };
    const giveUp = (reason: unknown): void => {
      forget();
      if (options.lossless === true)
        waiting.set(op, (failed, value) => (failed ? reject(reason) : resolve(value as Result)));
      else waiting.delete(op);
      native.cancel(op);
      if (options.lossless !== true) reject(reason);
    };
    waiting.set(op, (failed, value) => {
      forget();
      settle(failed, value);
    });
  });
}
