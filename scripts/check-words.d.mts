export function badWords(line: string): string[];
export function tooLong(line: string): string[];
