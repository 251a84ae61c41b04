import type { SourceFile } from 'typescript';

export function untypedOptions(source: SourceFile): string[];
