// npm run gather:gpu [-- --out FOLDER] [--addon FILE] [--cudart FILE] [--no-node] [--tar]
// Copies the GPU tests and everything they need into one folder, for a machine that has only a driver.
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { buildSmallAddon, cudaRuntime } from './gather/build.mjs';
import { libraries } from './gather/libraries.mjs';
import { packages } from './gather/packages.mjs';
import { main } from './setup/index.mjs';
import { root, run, SetUpError } from './setup/process.mjs';

/** Files and folders of the checkout. */
const SOURCES = ['package.json', 'tsconfig.json', 'vitest.config.ts', 'lib', 'test/gpu', 'test/helpers'];
/** Packages that the tests need; their dependencies are added. */
const PACKAGES = ['vitest', 'vite', 'tsx', 'node-gyp-build'];

const RUN = `#!/bin/sh
# Runs the GPU tests of dynamo-node: sh run.sh [arguments of vitest]. They fail without a GPU.
here=$(cd "\${0%/*}" && pwd) || exit 1
cd "$here" || exit 1
node="$here/bin/node"
[ -x "$node" ] || node=node
export LD_LIBRARY_PATH="$here/system\${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export REQUIRE_GPU=1 DYNAMO_TEST_FOLDERS=gpu
exec "$node" node_modules/vitest/vitest.mjs run "$@"
`;

const { values: options } = parseArgs({
  options: {
    out: { type: 'string', default: join(root, 'build/gpu/dynamo-gpu') },
    addon: { type: 'string' },
    cudart: { type: 'string' },
    'no-node': { type: 'boolean', default: false },
    tar: { type: 'boolean', default: false },
  },
});

function sizeOf(path) {
  const stats = statSync(path);
  return stats.isDirectory() ? readdirSync(path).reduce((sum, name) => sum + sizeOf(join(path, name)), 0) : stats.size;
}

await main(async () => {
  const { out } = options;
  if (existsSync(out) && readdirSync(out).length > 0 && !existsSync(join(out, 'run.sh')))
    throw new SetUpError(`${out} exists and was not made by this script: remove it or choose another --out`);
  const addon = options.addon ?? (await buildSmallAddon());
  const cudart = options.cudart ?? (await cudaRuntime());
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  const put = (from, to) => {
    mkdirSync(dirname(join(out, to)), { recursive: true });
    cpSync(from, join(out, to), { recursive: true, dereference: true });
  };

  for (const source of SOURCES) put(join(root, source), source);
  for (const folder of packages(PACKAGES)) put(join(root, folder), folder);
  put(addon, 'build/Release/dynamo_node.node');
  const { wheel, system } = libraries();
  for (const file of wheel) put(file, relative(root, file));
  for (const file of [...system, ...(cudart === undefined ? [] : [cudart])]) put(file, join('system', basename(file)));
  if (!options['no-node']) put(process.execPath, 'bin/node');
  writeFileSync(join(out, 'run.sh'), RUN);
  chmodSync(join(out, 'run.sh'), 0o755);

  const mib = (path) => `${Math.round(sizeOf(path) / 2 ** 20)} MiB`;
  for (const part of ['bin', 'build', '.peers', 'system', 'node_modules', 'lib', 'test'])
    if (existsSync(join(out, part))) console.log(`${part.padEnd(14)}${mib(join(out, part))}`);
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  console.log(`dynamo-node ${version} for a machine with a GPU: ${out}, ${mib(out)}; there: sh run.sh`);
  if (!options.tar) return;
  await run('tar', ['-czf', `${out}.tar.gz`, '-C', dirname(out), basename(out)]);
  console.log(`${out}.tar.gz, ${mib(`${out}.tar.gz`)}`);
});
