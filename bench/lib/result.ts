import type { Chart } from './plot.js';

export interface Row {
  readonly what: string;
  readonly cells: readonly string[];
}

export interface Goal {
  readonly goal: string;
  /** The result in words, or why there is none. */
  readonly got: string;
  readonly met: boolean | 'not measured';
}

/** The result of a bench: figures, and how they are shown. */
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

/** `quick` only checks that the script works. Its figures mean nothing. */
export interface Effort {
  readonly quick: boolean;
}

export type Bench = (effort: Effort) => Promise<Measured | Skipped>;
