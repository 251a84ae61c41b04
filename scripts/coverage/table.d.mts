export interface Lines {
  readonly covered: number;
  readonly total: number;
}

export function tableOf(files: ReadonlyMap<string, Lines>): string;
export function leastCovered(files: ReadonlyMap<string, Lines>, count?: number, minLines?: number): string;
