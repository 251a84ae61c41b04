import { loadNixl } from 'dynamo-node';
import { describe } from 'vitest';
import { describeDeviceBlocks } from '../../helpers/kvbm/block-device.js';

describe("blocks in the mock's device memory", () =>
  describeDeviceBlocks(() => loadNixl({ mode: 'mock', mock: { fakeGpus: 1 } })));
