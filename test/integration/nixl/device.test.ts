import { describe } from 'vitest';

import { describeDevice } from '../../helpers/nixl/device.js';

describe("NIXL on the mock's device memory", () => describeDevice('mock'));
