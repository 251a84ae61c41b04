import { beforeEach, describe } from 'vitest';

import { nixlMissing, useTransport } from '../../helpers/nixl/library.js';
import { describeProcesses } from '../../helpers/nixl/processes.js';

useTransport('ucx');

describe('NIXL on UCX', () => {
  beforeEach((context) => {
    const missing = nixlMissing();
    if (missing !== undefined) context.skip(missing);
  });
  describeProcesses('ucx', 3);
});
