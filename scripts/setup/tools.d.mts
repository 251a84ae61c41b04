export function clangTool(name: string): string | undefined;
export function hasComponent(name: string): boolean;
export function installComponents(): Promise<void>;
