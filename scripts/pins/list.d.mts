interface Report {
  readonly install: readonly {
    readonly metadata: { readonly name: string };
    readonly download_info: { readonly archive_info: { readonly hashes: { readonly sha256: string } } };
  }[];
}

export const pythons: readonly string[];
export const platforms: readonly string[];
export function versionsOf(text: string): string[];
export function hashesOf(reports: readonly Report[]): Map<string, Set<string>>;
export function listOf(
  versions: readonly string[],
  hashes: ReadonlyMap<string, ReadonlySet<string>>,
  start?: string,
): string;
