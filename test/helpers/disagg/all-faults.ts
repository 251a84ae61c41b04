import { describeFaults } from './fault-trials.js';

for (const nixl of ['mock', 'real'] as const)
  for (const style of ['first', 'together'] as const) describeFaults(nixl, style);
