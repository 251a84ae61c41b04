import { loadNixl } from 'dynamo-node';
import { beforeEach, describe } from 'vitest';
import { describeDeviceBlocks } from '../helpers/kvbm/block-device.js';
import { needsGpu } from '../helpers/nixl/gpu.js';
import { useTransport } from '../helpers/nixl/library.js';
import { needsNixlGpu } from '../helpers/nixl/needs-nixl.js';

useTransport('ucx');

describe('blocks in the memory of a GPU', () => {
  beforeEach(needsGpu);
  beforeEach(needsNixlGpu);
  describeDeviceBlocks(() => loadNixl({ mode: 'real' }));
});
