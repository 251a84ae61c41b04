import { join } from 'node:path';

import { expect, it } from 'vitest';

import { runExample } from '../../helpers/examples/run.js';
import { missingPeers } from '../../helpers/interop/peers.js';
import { root } from '../../helpers/project.js';

it('the example python-and-typescript calls Python, which calls TypeScript', async ({ skip }) => {
  skip(missingPeers !== undefined, missingPeers);
  const lines = await runExample('python-and-typescript', [], { DYN_PYTHON: join(root, '.peers/bin/python') });
  expect(lines).toEqual([
    expect.stringMatching(/^moved has 5 letters, says Python 3\.\d+\.\d+$/),
    expect.stringMatching(/^in has 2 letters, says Python 3\.\d+\.\d+$/),
    expect.stringMatching(/^blocks has 6 letters, says Python 3\.\d+\.\d+$/),
  ]);
});
