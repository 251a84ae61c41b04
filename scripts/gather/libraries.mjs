import { existsSync, readdirSync } from 'node:fs';
import { basename, join, normalize } from 'node:path';
import { outputOf, root, SetUpError } from '../setup/process.mjs';

/** The backends that the tests use. */
const PLUGINS = ['UCX', 'POSIX'];
/** UCX's benchmarks, and libraries for RDMA: the tests use one machine. */
const LEFT_OUT = /perftest|_ib/;

/** The folder in which the set-up installed NIXL's wheel. */
function wheelFolder() {
  const lib = join(root, '.peers/lib');
  const versions = existsSync(lib) ? readdirSync(lib) : [];
  const found = versions
    .map((name) => join(lib, name, 'site-packages'))
    .find((folder) => existsSync(join(folder, '.nixl_cu12.mesonpy.libs')));
  if (found === undefined) throw new SetUpError('NIXL is not installed: run `npm run setup`');
  return found;
}

/** Libraries of glibc. Every machine has them, and their versions must match each other. */
const GLIBC = /^(ld-linux.*|lib(c|m|dl|pthread|rt|resolv|util|anl))\.so/;

/** The libraries that the linker finds for a program or library. Missing ones, such as the driver, are left out. */
function needed(file) {
  const resolved = outputOf('ldd', [file]) ?? '';
  return [...resolved.matchAll(/=> (\S+) \(/g)]
    .map(([, path]) => normalize(path))
    .filter((path) => !GLIBC.test(basename(path)));
}

/**
 * NIXL's C library, its plugins and UCX's modules, with all libraries that they and Node.js need. Those of the wheel
 * find each other by relative paths, which must be kept. The others come from the system.
 */
export function libraries() {
  const folder = wheelFolder();
  const nixl = join(folder, '.nixl_cu12.mesonpy.libs');
  const modules = join(folder, 'nixl_cu12.libs/ucx');
  const roots = [
    join(nixl, 'libnixl_capi.so'),
    ...PLUGINS.map((name) => join(nixl, `plugins/libplugin_${name}.so`)),
    ...readdirSync(modules)
      .filter((name) => name.includes('.so') && !LEFT_OUT.test(name))
      .map((name) => join(modules, name)),
  ];
  const all = [...new Set([...roots, ...[process.execPath, ...roots].flatMap(needed)])];
  const ofWheel = (file) => file.startsWith(folder);
  return { wheel: all.filter(ofWheel), system: all.filter((file) => !ofWheel(file)) };
}
