import { loadNixl, NixlLoadError } from 'dynamo-node';
import { beforeEach, describe, type TestContext } from 'vitest';
import { describeDeviceBlocks } from '../helpers/kvbm/block-device.js';
import { needsGpu } from '../helpers/nixl/gpu.js';
import { useTransport } from '../helpers/nixl/library.js';

useTransport('ucx');

/** Skips the test if NIXL cannot use the GPU. */
function needsNixl(context: TestContext): void {
  let reason: string | undefined;
  try {
    const { available, reason: why } = loadNixl({ mode: 'real' }).cuda;
    if (!available) reason = `NIXL has no GPU: ${why}`;
  } catch (error) {
    if (!(error instanceof NixlLoadError)) throw error;
    reason = 'the NIXL library is not installed';
  }
  if (reason === undefined) return;
  if (process.env['REQUIRE_GPU'] === '1') throw new Error(`REQUIRE_GPU=1, but ${reason}`);
  context.skip(reason);
}

describe('blocks in the memory of a GPU', () => {
  beforeEach(needsGpu);
  beforeEach(needsNixl);
  describeDeviceBlocks(() => loadNixl({ mode: 'real' }));
});
