interface Part {
  readonly name: string;
  readonly version: string;
  readonly license?: string | null;
}

interface Crate extends Part {
  readonly manifest_path: string;
  readonly authors: readonly string[];
  readonly repository: string | null;
}

export const reviewed: Readonly<Record<string, string>>;
export function isAllowed(expression: string): boolean;
export function linkedCrates(): Crate[];
export function runtimePackages(): Part[];
export function refusalOf(part: Pick<Part, 'name' | 'license'>, texts?: readonly string[]): string | undefined;
export function refusals(crates: readonly Crate[], packages: readonly Part[]): string[];
export function notices(crates: readonly Crate[], packages: readonly Part[]): string;
