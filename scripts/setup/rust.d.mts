export function installRust(): Promise<void>;
