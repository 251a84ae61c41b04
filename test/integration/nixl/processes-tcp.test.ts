import { beforeEach, describe } from 'vitest';

import { nixlMissing, useTransport } from '../../helpers/nixl/library.js';
import { describeProcesses } from '../../helpers/nixl/processes.js';

useTransport('tcp');

describe('NIXL on UCX over TCP only', () => {
  beforeEach((context) => {
    const missing = nixlMissing();
    if (missing !== undefined) context.skip(missing);
  });
  describeProcesses('tcp', 3);
});
