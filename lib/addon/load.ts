import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import type { Native } from './native.js';

const require = createRequire(import.meta.url);
const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');

const SUPPORTED = 'supported are Linux on x64 with glibc 2.36 or newer, and Node.js 20, 22 and 24';

/** Why this process cannot use any build of the addon, or undefined if it can. */
function unsupported(): string | undefined {
  const { platform, arch, versions } = process;
  const runtime = 'Bun' in globalThis ? 'Bun' : 'Deno' in globalThis ? 'Deno' : undefined;
  if (runtime !== undefined) return `${runtime} is not supported: run the program with Node.js`;
  if (platform !== 'linux') return `${platform} is not supported: Dynamo runs on Linux (a container is enough)`;
  if (arch !== 'x64') return `the processor architecture ${arch} is not supported`;
  if (Number.parseInt(versions.node) < 20) return `Node.js ${versions.node} is too old`;
  return undefined;
}

/** Why a supported machine failed to load the addon. */
function explain(cause: unknown): string {
  const { header } = process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } };
  if (header.glibcVersionRuntime === undefined)
    return 'musl libc (Alpine) is not supported: use an image with glibc, such as node:22-bookworm';
  if (/GLIBC_[\d.]+' not found/.test(String(cause))) return `glibc ${header.glibcVersionRuntime} is too old`;
  return (
    'no usable binary was found in prebuilds/ or build/Release: ' +
    'reinstall the package, or run `npm run build:native` in a checkout'
  );
}

function failure(reason: string, cause?: unknown): Error {
  return new Error(
    `dynamo-node cannot load its native addon: ${reason}; ${SUPPORTED}`,
    cause === undefined ? undefined : { cause },
  );
}

function load(): Native {
  const reason = unsupported();
  if (reason !== undefined) throw failure(reason);
  try {
    return (require('node-gyp-build') as (root: string) => Native)(root);
  } catch (cause) {
    throw failure(explain(cause), cause);
  }
}

export const native = load();
