import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The versions of Dynamo's crates that this package binds. A test compares them with `native/core/Cargo.toml`. */
export const CRATES = { 'dynamo-runtime': '1.6.1', 'dynamo-llm': '1.6.1', 'dynamo-kv-router': '1.6.1' } as const;

/** The folder of this installation. */
export const packageFolder = (): string => fileURLToPath(new URL('../..', import.meta.url));

/** The version of this package. */
export function packageVersion(): string {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  return version;
}

/** Names this package and the crates, because Dynamo's Python packages have other versions. */
export function versionLine(): string {
  const crates = Object.entries(CRATES).map(([name, version]) => `${name} ${version}`);
  return `dynamo-node ${packageVersion()} (binds ${crates.join(', ')})`;
}
