import { describe } from 'vitest';

import { describeDevice } from '../../helpers/nixl/device.js';
import { describeHandover } from '../../helpers/nixl/handover.js';

describe("NIXL on the mock's device memory", () => {
  describeDevice('mock');
  describeHandover('mock');
});
