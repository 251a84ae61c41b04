import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pinnedInstall } from '../setup/pip.mjs';
import { headersEnvironment, outputOf, root, run } from '../setup/process.mjs';

const require = createRequire(import.meta.url);
const folder = join(root, 'build/gpu');

/** The addon with NIXL only. Without the Rust core it has a hundredth of the size and builds in a minute. */
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

/** CUDA's runtime library. UCX's memory hooks need it, and a driver lacks it. Undefined if it is not available. */
export async function cudaRuntime() {
  const target = join(folder, 'cudart');
  const file = join(target, 'nvidia/cuda_runtime/lib/libcudart.so.12');
  if (existsSync(file)) return file;
  const install = [...pinnedInstall('scripts/gpu.txt'), '--target', target];
  outputOf(join(root, '.peers/bin/python'), install, { cwd: root });
  if (existsSync(file)) return file;
  console.warn(`scripts/gpu.txt could not be installed: the machine with the GPU must have libcudart.so.12`);
  return undefined;
}
