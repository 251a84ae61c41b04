import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';

import type { TestContext } from 'vitest';

const DEVICES = '/proc/driver/nvidia/gpus';

/** The PCI addresses of the NVIDIA GPUs that the kernel's driver knows. */
export function gpus(): string[] {
  return existsSync(DEVICES) ? readdirSync(DEVICES) : [];
}

function hasDriverLibrary(): boolean {
  const { stdout } = spawnSync('/sbin/ldconfig', ['-p'], { encoding: 'utf8' });
  return (
    /libcuda\.so\.1\b/.test(stdout ?? '') ||
    (process.env['LD_LIBRARY_PATH'] ?? '').split(':').some((folder) => existsSync(`${folder}/libcuda.so.1`))
  );
}

function missing(): string | undefined {
  if (gpus().length === 0) return 'this machine has no NVIDIA GPU';
  return hasDriverLibrary() ? undefined : "the driver's library libcuda.so.1 is not installed";
}

/** Why tests on a GPU are not possible here. Undefined if they are. */
export const missingGpu = missing();

/** Skips a test with the reason if there is no GPU. With `REQUIRE_GPU=1` it fails instead. */
export function needsGpu(context: TestContext): void {
  if (missingGpu === undefined) return;
  if (process.env['REQUIRE_GPU'] === '1') throw new Error(`REQUIRE_GPU=1, but ${missingGpu}`);
  context.skip(missingGpu);
}
