import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { execute, root } from '../../helpers/project.js';

describe('the example hello-world', () => {
  it('runs its graph in one process, calls it, and ends', async () => {
    const main = join(root, 'examples/hello-world/main.ts');
    const { stdout } = await execute(process.execPath, ['--import', 'tsx', main], { cwd: root });
    expect(stdout.trim().split('\n')).toEqual([
      '2 workers of Words, 1 of Greeter',
      'hello, block',
      'hello, router',
      'hello, planner',
    ]);
  });
});
