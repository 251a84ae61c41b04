import { expect, it } from 'vitest';
import { runExample } from '../../helpers/examples/run.js';

it('the example hello-world runs its graph in one process, calls it, and ends', async () => {
  expect(await runExample('hello-world')).toEqual([
    '2 workers of Words, 1 of Greeter',
    'hello, block',
    'hello, router',
    'hello, planner',
  ]);
});
