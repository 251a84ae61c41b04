import type { Lines } from './table.mjs';

export interface GcovRecord {
  readonly file: string;
  readonly lines: readonly { readonly line_number: number; readonly count: number }[];
}

export function mergeLines(records: readonly GcovRecord[], isOurs: (file: string) => boolean): Map<string, Lines>;
