import type { SourceFile } from 'typescript';

export interface Import {
  specifier: string;
  isType: boolean;
  isLazy?: boolean;
}

/** The rooms of lib/, lowest first; rooms of one row may not import one another. */
export const order: readonly (readonly string[])[];
export function isPure(file: string): boolean;
export function breachOfImport(file: string, specifier: string): string | undefined;
export function breachOfInclude(folder: string, file: string, header: string): string | undefined;
export function impurities(source: SourceFile): string[];
export function circles(files: ReadonlyMap<string, readonly Import[]>): string[];
export function breaches(checkout?: string): string[];
