import type { SourceFile } from 'typescript';

export interface FoundImport {
  specifier: string;
  isType: boolean;
  isLazy: boolean;
}

export function parse(base: string, file: string): SourceFile;
export function importsOf(source: SourceFile): FoundImport[];
export function targetOf(file: string, specifier: string): string;
