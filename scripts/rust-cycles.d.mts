export function expandUse(tree: string): { segments: string[]; name: string }[];
export function importsOf(source: string): Map<string, string[]>;
export function rustCycles(checkout?: string): string[];
