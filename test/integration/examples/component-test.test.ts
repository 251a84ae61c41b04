import { expect, it } from 'vitest';
import { execute, root } from '../../helpers/project.js';

const env = { ...process.env, NO_COLOR: '1', VITEST: undefined, VITEST_POOL_ID: undefined, NODE_ENV: undefined };

it.each([
  ['vitest', ['node_modules/vitest/vitest.mjs', 'run', '--root', 'examples/component-test'], /Tests +3 passed \(3\)/],
  [
    'node:test',
    ['--import', 'tsx', '--test', '--test-reporter=tap', 'examples/component-test/summary.node-test.ts'],
    /^# pass 3$/m,
  ],
] as const)('the tests of the example component-test pass in %s', async (_, args, passed) => {
  const { stdout } = await execute(process.execPath, args, { cwd: root, env });
  expect(stdout).toMatch(passed);
});
