import { DynamoError } from '../errors.js';
import type { NixlAgent } from '../nixl/agent.js';

/** How long the caller waits. The transfer itself continues after a timeout or an abort. */
interface DeadlineOptions {
  readonly operation: string;
  /** @default no limit */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The promise's result. Rejects with the signal's reason after an abort, with `DYN_DEADLINE_EXCEEDED` after the
 * timeout.
 */
export async function withDeadline<T>(
  promise: Promise<T>,
  { operation, timeoutMs, signal }: DeadlineOptions,
): Promise<T> {
  if (timeoutMs === undefined && signal === undefined) return promise;
  let stop = (): void => {};
  const ended = new Promise<never>((_, reject) => {
    const onTimeout = (): void =>
      reject(
        new DynamoError('DeadlineExceeded', `${operation}: the blocks were not read in time`, {
          reason: 'kvbm.pull_timeout',
          operation,
        }),
      );
    const timer = timeoutMs === undefined ? undefined : setTimeout(onTimeout, Math.max(0, timeoutMs));
    const onAbort = (): void => reject(signal?.reason);
    if (signal?.aborted === true) onAbort();
    signal?.addEventListener('abort', onAbort, { once: true });
    stop = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    };
  });
  try {
    return await Promise.race([promise, ended]);
  } finally {
    stop();
  }
}

/**
 * Resolves when no byte of the transfer is in flight any longer: to true if that is certain, to false if it will never
 * be known. A transfer fails as soon as its agent closes, before its bytes have stopped. The end of the close decides
 * then.
 */
export async function settled(transfer: Promise<unknown>, agent: NixlAgent): Promise<boolean> {
  try {
    await transfer;
    return true;
  } catch {
    return agent.isOpen || !(await agent.close()).leaked;
  }
}
