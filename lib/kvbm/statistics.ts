import { words } from '../words.js';

/** Counts of a manager. Events are counted from its creation on. Source: `kvbm-logical` `metrics/pool_metrics.rs`. */
export interface BlockStatistics {
  readonly total: number;
  /** Blocks that an allocation can take: empty and inactive ones. */
  readonly available: number;
  readonly empty: number;
  readonly inactive: number;
  /** References to mutable blocks, and to registered blocks. A block can have several. */
  readonly mutableReferences: number;
  readonly registeredReferences: number;
  /**
   * Objects of this environment with references to blocks, weak ones included. A growing number means a missing
   * `dispose`.
   */
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

/** From words in the native side's order. */
export function statisticsOf(bytes: Uint8Array | undefined): BlockStatistics {
  const counts = words(bytes);
  return Object.fromEntries(
    STATISTICS.map((name, index) => [name, Number(counts[index])]),
  ) as unknown as BlockStatistics;
}
