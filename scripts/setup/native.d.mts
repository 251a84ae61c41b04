export function stateOf(line: string): { text: string; transient: boolean } | undefined;
export function buildNative(kind?: 'build' | 'prebuild', stop?: AbortSignal): Promise<void>;
