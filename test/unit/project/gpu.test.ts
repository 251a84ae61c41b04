import { describe, expect, it } from 'vitest';

import { missingGpu } from '../../helpers/nixl/gpu.js';
import { execute, root } from '../../helpers/project.js';

interface Outcome {
  readonly code: number;
  readonly stdout: string;
}

/** Runs `npm run test:gpu` without npm. */
async function testGpu(env: NodeJS.ProcessEnv): Promise<Outcome> {
  const options = { cwd: root, env: { ...process.env, DYNAMO_TEST_FOLDERS: 'gpu', REQUIRE_GPU: '', ...env } };
  const run = execute(process.execPath, ['node_modules/vitest/vitest.mjs', 'run'], options);
  return run.then(
    ({ stdout }) => ({ code: 0, stdout }),
    (error: Outcome) => ({ code: error.code, stdout: error.stdout }),
  );
}

describe('the GPU tests', () => {
  it('print why they skip on a machine without a GPU', async (context) => {
    if (missingGpu === undefined) context.skip('this machine has a GPU');
    const { code, stdout } = await testGpu({});
    expect(code).toBe(0);
    expect(stdout).toContain(`: ${missingGpu}\n`);
    expect(stdout).toMatch(/\n0 passed, 0 failed, [1-9]\d* skipped\n$/);
  });

  it('fail on a machine without a GPU under REQUIRE_GPU=1', async (context) => {
    if (missingGpu === undefined) context.skip('this machine has a GPU');
    const { code, stdout } = await testGpu({ REQUIRE_GPU: '1' });
    expect(code).toBe(1);
    expect(stdout).toMatch(/\n0 passed, [1-9]\d* failed, 0 skipped\n$/);
  });
});
