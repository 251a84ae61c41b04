import { loadNixl } from 'dynamo-node';
import { describe } from 'vitest';

import { describeDevice } from '../helpers/nixl/device.js';

describe("NIXL on the mock's device memory", () => describeDevice(() => loadNixl({ mode: 'mock', mock: { fakeGpus: 1 } })));
