import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { headersEnvironment, outputOf, root, run } from '../setup/process.mjs';

const require = createRequire(import.meta.url);
const folder = join(root, 'build/gpu');

/** The addon with NIXL alone: without the Rust core it is a hundredth of the size, and builds in a minute. */
export async function buildSmallAddon() {
  const addon = join(folder, 'addon');
  const cmake = [
    require.resolve('cmake-js/bin/cmake-js'),
    'compile',
    '-d',
    join(root, 'native'),
    '-O',
    join(folder, 'cmake'),
  ];
  await run(process.execPath, [...cmake, '--CDDYNAMO_NIXL_ONLY=ON', `--CDCMAKE_LIBRARY_OUTPUT_DIRECTORY=${addon}`], {
    env: { ...process.env, ...headersEnvironment() },
  });
  const file = join(addon, 'dynamo_node.node');
  await run('strip', [file]);
  return file;
}

/** CUDA's runtime library, which UCX's memory hooks need and a driver does not bring; undefined where Python's index has none. */
export async function cudaRuntime() {
  const target = join(folder, 'cudart');
  const file = join(target, 'nvidia/cuda_runtime/lib/libcudart.so.12');
  if (existsSync(file)) return file;
  const wanted = readFileSync(join(root, 'scripts/gpu.txt'), 'utf8').trim();
  const pip = [
    '-m',
    'pip',
    'install',
    '--quiet',
    '--disable-pip-version-check',
    '--retries',
    '2',
    '--no-deps',
    '--target',
    target,
    wanted,
  ];
  outputOf(join(root, '.peers/bin/python'), pip);
  if (existsSync(file)) return file;
  console.warn(`${wanted} cannot be had: the machine with the GPU needs a libcudart.so.12 of its own`);
  return undefined;
}
