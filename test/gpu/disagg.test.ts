import { beforeEach, describe } from 'vitest';
import { describeDeviceHandoff } from '../helpers/disagg/device.js';
import { needsGpu } from '../helpers/nixl/gpu.js';
import { useTransport } from '../helpers/nixl/library.js';
import { needsNixlGpu } from '../helpers/nixl/needs-nixl.js';

useTransport('ucx');

describe('a handoff with the memory of a GPU', () => {
  beforeEach(needsGpu);
  beforeEach(needsNixlGpu);
  describeDeviceHandoff('ucx');
});
