import { beforeEach, it } from 'vitest';

import { missingPeers } from '../../helpers/interop/peers.js';
import { expectKvOfTheWheel } from '../../helpers/router/wheel-replay.js';

beforeEach(({ skip }) => skip(missingPeers !== undefined, missingPeers));

// 2% are 4.6 deviations of the difference of the means of 48 runs, so chance alone does not fail it.
it('a simulation is within 2% of the wheel in kv, and well ahead of round-robin', async () => {
  await expectKvOfTheWheel(48, 0.02);
}, 600_000);
