import type { Spread } from './stats.js';

export const PLACES = ['one', 'two'] as const;
/** Whether both agents are in one process. */
export type Place = (typeof PLACES)[number];
export const PLACE_NAMES: Record<Place, string> = { one: 'one process', two: 'two processes' };

/** The programs that the bench compares, and a plain copy of memory. */
export type Side = 'node' | 'c' | 'python' | 'memcpy';

/** One row of the table: the work, and the nanoseconds of one call on each side. */
export interface Case {
  readonly what: string;
  readonly place: Place;
  /** The bytes that one call moves. */
  readonly bytes: number;
  /** The unit of the table. Bandwidth uses the mean call, the other units the median call. */
  readonly unit: 'GB/s' | 'us' | 'ms';
  readonly ns: Readonly<Partial<Record<Side, Spread>>>;
  /** The speed of this package relative to the other side, round by round. */
  readonly of: Readonly<Partial<Record<Exclude<Side, 'node'>, Spread>>>;
}

/** Measurements that have no counterpart in the other programs, or only in some. */
export interface OwnFigures {
  readonly loop: { readonly p99Ms: Spread; readonly maxMs: Spread; readonly gigabytesPerSecond: Spread };
  /** The part of one core that an idle agent uses, for each program. */
  readonly idle: Readonly<Partial<Record<Side, Spread>>>;
  readonly listening: Spread;
  readonly waiting: Spread;
  /** The memory of a process with an agent, before it allocates any. */
  readonly rssMiB: Readonly<Partial<Record<Side, number>>>;
}
