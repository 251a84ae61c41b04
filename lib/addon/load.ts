import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import type { Native } from './native.js';

const SUPPORTED = 'supported are Linux on x64 with glibc 2.36 or newer, and Node.js 20, 22, 24 and 26';

const BUNDLED =
  'the package is inside a bundle, which does not contain the binary: ' +
  'exclude it from the bundle (esbuild: `--external:dynamo-node`) and install it beside';

const NO_ADDONS =
  'this process may not load addons: remove `--no-addons`; under the permission model pass `--allow-addons`';

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
  const { code, resource } = cause as { code?: unknown; resource?: unknown };
  if (code === 'ERR_DLOPEN_DISABLED') return NO_ADDONS;
  if (code === 'ERR_ACCESS_DENIED')
    return `the permission model denies reading ${String(resource)}: pass \`--allow-fs-read\` with it`;
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
  const error = new Error(
    `dynamo-node cannot load its native addon: ${reason}; ${SUPPORTED}`,
    cause === undefined ? undefined : { cause },
  );
  return Object.assign(error, { code: 'DYN_NO_ADDON' });
}

/** The package's folder, or undefined if this file is not in it: a bundler has copied its code. */
function packageFolder(): string | undefined {
  // A bundle in CommonJS has no URL.
  const { url } = import.meta as { url?: string };
  if (url === undefined) return undefined;
  const folder = join(dirname(fileURLToPath(url)), '..', '..');
  try {
    const { name } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { name?: unknown };
    return name === 'dynamo-node' ? folder : undefined;
  } catch (cause) {
    if ((cause as { code?: unknown }).code === 'ERR_ACCESS_DENIED') throw cause;
    return undefined;
  }
}

function load(): Native {
  const reason = unsupported();
  if (reason !== undefined) throw failure(reason);
  try {
    const folder = packageFolder();
    if (folder === undefined) throw failure(BUNDLED);
    const require = createRequire(join(folder, 'package.json'));
    return (require('node-gyp-build') as (root: string) => Native)(folder);
  } catch (cause) {
    if ((cause as Error).message.startsWith('dynamo-node cannot')) throw cause;
    throw failure(explain(cause), cause);
  }
}

export const native = load();
