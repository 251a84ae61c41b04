export function breachOfImport(file: string, specifier: string): string | undefined;
export function breachOfInclude(folder: string, file: string, header: string): string | undefined;
export function breaches(checkout?: string): string[];
