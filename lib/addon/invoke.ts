import { errorFrom, type Failure } from '../errors.js';
import { unpack } from './codec.js';
import { native } from './load.js';
import type { Async, Bytes, Handle, Nothing, Sync } from './native.js';

export { native };

/** What a call may carry; see `dyn_call` in `native/core/include/dynamo_core.h`. */
export interface CallParts {
  handle?: Handle | Nothing;
  other?: Handle | Nothing;
  args?: Bytes | Nothing;
  payload?: Bytes | Nothing;
  a?: number;
  b?: number;
}

interface Waiting {
  operation: string;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

const waiting = new Map<number, Waiting>();

native.open((batch) => {
  for (let index = 0; index < batch.length; index += 3) {
    const op = batch[index] as number;
    const entry = waiting.get(op);
    if (entry === undefined) continue;
    waiting.delete(op);
    if (batch[index + 1] === true) {
      entry.reject(errorFrom(unpack(batch[index + 2] as Bytes) as Failure, entry.operation));
    } else {
      entry.resolve(batch[index + 2]);
    }
  }
});

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
    if (signal === undefined && deadline === undefined) {
      waiting.set(op, { operation, resolve: resolve as (value: unknown) => void, reject });
      return;
    }
    const giveUp = (reason: unknown): void => {
      settle();
      waiting.set(op, { operation, resolve: () => {}, reject: () => {} });
      native.cancel(op);
      reject(reason);
    };
    const onAbort = (): void => giveUp(signal?.reason);
    const timer = deadline === undefined ? undefined : setTimeout(() => giveUp(deadline.error()), deadline.ms);
    const settle = (): void => {
      signal?.removeEventListener('abort', onAbort);
      clearTimeout(timer);
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    waiting.set(op, {
      operation,
      resolve: (value) => {
        settle();
        resolve(value as Result);
      },
      reject: (error) => {
        settle();
        reject(error);
      },
    });
  });
}
