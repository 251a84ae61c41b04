import { existsSync, readdirSync } from 'node:fs';
import { basename, join, normalize } from 'node:path';
import { outputOf, root, SetUpError } from '../setup/process.mjs';

/** The backends that the tests use. */
const PLUGINS = ['UCX', 'POSIX'];
/** UCX's own benches, and what only RDMA needs: the tests stay on one machine. */
const LEFT_OUT = /perftest|_ib/;

/** The folder of NIXL's wheel, where the set-up installed it. */
function wheelFolder() {
  const lib = join(root, '.peers/lib');
  const versions = existsSync(lib) ? readdirSync(lib) : [];
  const found = versions
    .map((name) => join(lib, name, 'site-packages'))
    .find((folder) => existsSync(join(folder, '.nixl_cu12.mesonpy.libs')));
  if (found === undefined) throw new SetUpError('NIXL is not installed: run `npm run setup`');
  return found;
}

/** Of glibc, which every machine has, and whose parts must fit each other. */
const GLIBC = /^(ld-linux.*|lib(c|m|dl|pthread|rt|resolv|util|anl))\.so/;

/** What the linker finds for a program or library; what is not there, such as the driver, is not among it. */
function needed(file) {
  const resolved = outputOf('ldd', [file]) ?? '';
  return [...resolved.matchAll(/=> (\S+) \(/g)]
    .map(([, path]) => normalize(path))
    .filter((path) => !GLIBC.test(basename(path)));
}

/**
 * NIXL's C library, its plugins and UCX's modules, with all that they need: of the wheel, where they find each other by
 * their places, which must stay as they are; and of the system, with what Node.js needs.
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
