import { describe } from 'vitest';

import { useTransport } from '../../helpers/nixl/library.js';
import { describeProcesses } from '../../helpers/nixl/processes.js';

useTransport('mock');

describe('NIXL on the mock', () => {
  describeProcesses('mock', 3);
});
