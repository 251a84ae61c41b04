/** The part of a request that a worker does. */
export const WORKER_TYPES = ['aggregated', 'prefill', 'decode', 'encode'] as const;
/**
 * One of {@link WORKER_TYPES}.
 * @useDeclaredType
 */
export type WorkerType = (typeof WORKER_TYPES)[number];
