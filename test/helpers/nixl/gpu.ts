import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';

import type { TestContext } from 'vitest';

const DEVICES = '/proc/driver/nvidia/gpus';

/** The PCI addresses of the NVIDIA GPUs that the kernel's driver has. */
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

/** Why nothing can be shown on a GPU here, or undefined where it can. */
export const missingGpu = missing();

/** At the start of each test of test/gpu: skips it with the reason where there is no GPU, or fails it under `REQUIRE_GPU=1`. */
export function needsGpu(context: TestContext): void {
  if (missingGpu === undefined) return;
  if (process.env['REQUIRE_GPU'] === '1') throw new Error(`REQUIRE_GPU=1, but ${missingGpu}`);
  context.skip(missingGpu);
}
