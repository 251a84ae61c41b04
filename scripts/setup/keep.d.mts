export function keepingFile(output: string, work: (signal: AbortSignal) => Promise<unknown>): Promise<void>;
