/** When a worker that ended is started again. */
export interface RestartPolicy {
  /** @default 'on-failure' */
  readonly respawn: 'never' | 'on-failure';
  /** After this number of crashes in a row a worker is not restarted. @default 5 */
  readonly maxCrashes: number;
  /** The wait after the first crash. Each further one doubles it. @default 500 */
  readonly minDelayMs: number;
  /** The longest wait. @default 30000 */
  readonly maxDelayMs: number;
  /** A worker that was ready for this long has no crashes in a row. @default 30000 */
  readonly stableMs: number;
}

export const DEFAULT_RESTARTS: RestartPolicy = {
  respawn: 'on-failure',
  maxCrashes: 5,
  minDelayMs: 500,
  maxDelayMs: 30_000,
  stableMs: 30_000,
};

/** The wait before a worker starts again, or undefined if it does not. `crashes`: in a row, with the last one. */
export function restartDelayMs(policy: RestartPolicy, crashes: number): number | undefined {
  const { respawn, maxCrashes, minDelayMs, maxDelayMs } = policy;
  if (respawn === 'never' || crashes >= maxCrashes) return undefined;
  return Math.min(maxDelayMs, minDelayMs * 2 ** (crashes - 1));
}
