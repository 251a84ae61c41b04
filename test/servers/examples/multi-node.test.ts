import { execFileSync } from 'node:child_process';

import { expect, it } from 'vitest';

import { missingForNodes } from '../../../examples/multi-node/nodes.js';
import { runExample } from '../../helpers/examples/run.js';

it('the example multi-node answers a request on one node by a worker of the other', async ({ skip }) => {
  const missing = missingForNodes();
  skip(missing !== undefined, missing);
  expect(await runExample('multi-node')).toEqual([
    'Worker   serves on 10.77.0.2',
    'Frontend serves on 10.77.0.1',
    '"MOVED from 10.77.0.2 by 10.77.0.1"',
    '"IN from 10.77.0.2 by 10.77.0.1"',
    '"BLOCKS from 10.77.0.2 by 10.77.0.1"',
  ]);
  expect(execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' })).not.toContain('dynamo-');
});
