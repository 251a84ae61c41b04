export function pinnedInstall(list: string): string[];
