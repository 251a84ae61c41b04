import { readFileSync } from 'node:fs';

import { expect, it } from 'vitest';

import { gpus, needsGpu } from '../helpers/nixl/gpu.js';
import { execute } from '../helpers/project.js';

it('finds each GPU of the kernel in the driver, with its memory', async (context) => {
  needsGpu(context);
  const models = gpus().map(
    (address) => /^Model:\s+(.+)$/m.exec(readFileSync(`/proc/driver/nvidia/gpus/${address}/information`, 'utf8'))?.[1],
  );
  const { stdout } = await execute('nvidia-smi', ['--query-gpu=name,memory.total', '--format=csv,noheader,nounits']);
  const seen = stdout
    .trim()
    .split('\n')
    .map((line) => line.split(', '));
  console.log(seen.map(([name, mib]) => `${name}, ${mib} MiB`).join('\n'));
  expect(seen.map(([name]) => name)).toEqual(models);
  for (const [, mib] of seen) expect(Number(mib)).toBeGreaterThan(0);
});
