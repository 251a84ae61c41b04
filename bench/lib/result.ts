import type { Chart } from './plot.js';

export interface Row {
  readonly what: string;
  readonly cells: readonly string[];
}

export interface Goal {
  readonly goal: string;
  /** What came out, in words, or why there is no figure. */
  readonly got: string;
  readonly met: boolean | 'not measured';
}

/** What a bench gives: the figures, and how they are shown. */
export interface Measured {
  readonly settings: Readonly<Record<string, unknown>>;
  readonly figures: readonly object[];
  readonly goals: readonly Goal[];
  readonly charts: readonly Chart[];
  readonly columns: readonly string[];
  readonly rows: readonly Row[];
}

export interface Skipped {
  readonly skipped: string;
}

/** How much is done: all of it, or so little that only the script itself is tried. */
export interface Effort {
  readonly quick: boolean;
}

export type Bench = (effort: Effort) => Promise<Measured | Skipped>;
