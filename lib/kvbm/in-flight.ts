import { DynamoError } from '../errors.js';
import type { NixlAgent } from '../nixl/agent.js';

/** How long somebody waits for bytes, which go on without him. */
interface Patience {
  readonly operation: string;
  /** @default for ever */
  readonly ms?: number;
  readonly signal?: AbortSignal | undefined;
}

/** The promise's outcome, or the signal's reason, or an error once the time is over. */
export async function limited<T>(promise: Promise<T>, { operation, ms, signal }: Patience): Promise<T> {
  if (ms === undefined && signal === undefined) return promise;
  let stop = (): void => {};
  const ended = new Promise<never>((_, reject) => {
    const late = (): void =>
      reject(
        new DynamoError('DeadlineExceeded', `${operation}: the blocks were not read in time`, {
          reason: 'kvbm.pull_timeout',
          operation,
        }),
      );
    const timer = ms === undefined ? undefined : setTimeout(late, Math.max(0, ms));
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
 * Resolves once no byte of a transfer can be on its way any more; false where that will never be known. A transfer of an
 * agent that is closed fails before its bytes have stopped: those who wait for the close know when they have.
 */
export async function landed(transfer: Promise<unknown>, agent: NixlAgent): Promise<boolean> {
  try {
    await transfer;
    return true;
  } catch {
    return agent.isOpen || !(await agent.close()).leaked;
  }
}
