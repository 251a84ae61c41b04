import { bigWords } from './hashes.js';

/** Counts of a manager; those of events since it was made. Source: `kvbm-logical` `metrics/pool_metrics.rs`. */
export interface BlockStatistics {
  readonly total: number;
  /** Those that an allocation can have: empty and inactive. */
  readonly available: number;
  readonly empty: number;
  readonly inactive: number;
  /** References, not blocks, of the mutable ones and of the registered ones. */
  readonly mutableReferences: number;
  readonly registeredReferences: number;
  /** Objects of this environment that hold blocks, or name them weakly. One that grows tells of a missing `dispose`. */
  readonly batches: number;
  readonly allocations: number;
  readonly allocationsFromEmpty: number;
  readonly evictions: number;
  readonly stagings: number;
  readonly registrations: number;
  readonly duplicates: number;
  readonly deduplications: number;
  readonly matchRequested: number;
  readonly matchFound: number;
  readonly scanRequested: number;
  readonly scanFound: number;
}

const STATISTICS = [
  'total',
  'available',
  'empty',
  'inactive',
  'mutableReferences',
  'registeredReferences',
  'batches',
  'allocations',
  'allocationsFromEmpty',
  'evictions',
  'stagings',
  'registrations',
  'duplicates',
  'deduplications',
  'matchRequested',
  'matchFound',
  'scanRequested',
  'scanFound',
] as const satisfies readonly (keyof BlockStatistics)[];

/** From words in the order of the native side's. */
export function statisticsOf(bytes: Uint8Array | undefined): BlockStatistics {
  const words = bigWords(bytes);
  return Object.fromEntries(
    STATISTICS.map((name, index) => [name, Number(words[index])]),
  ) as unknown as BlockStatistics;
}
