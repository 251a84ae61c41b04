import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import type { Native } from './native.js';

const require = createRequire(import.meta.url);
const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');

/** Why this machine cannot load the addon, or undefined where it should. */
function unsupported(): string | undefined {
  const { platform, arch } = process;
  const runtime = 'Bun' in globalThis ? 'Bun' : 'Deno' in globalThis ? 'Deno' : undefined;
  if (runtime !== undefined) return `${runtime} is not supported: run it with Node.js 20, 22 or 24`;
  if (platform !== 'linux') return `${platform} is not supported: Dynamo runs on Linux (a container will do)`;
  if (arch !== 'x64') return `the processor architecture ${arch} is not supported: x64 is`;
  const report = process.report?.getReport() as { header?: { glibcVersionRuntime?: string } } | undefined;
  if (report !== undefined && report.header?.glibcVersionRuntime === undefined) {
    return 'musl libc (Alpine) is not supported: use an image with glibc, such as node:22-bookworm';
  }
  return undefined;
}

function load(): Native {
  try {
    return (require('node-gyp-build') as (root: string) => Native)(root);
  } catch (cause) {
    const reason =
      unsupported() ??
      'no usable binary was found in prebuilds/ or build/Release: reinstall the package, or run `npm run build:native` in a checkout';
    throw new Error(`dynamo-node cannot load its native addon: ${reason}`, { cause });
  }
}

export const native = load();
