import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadNixl } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';

import { nixlMissing, useTransport } from '../../helpers/nixl/library.js';
import { addonFile, execute, root } from '../../helpers/project.js';

useTransport('ucx');

const PARTS = [
  'run.sh',
  'bin/node',
  'build/Release/dynamo_node.node',
  'lib/index.ts',
  'test/gpu/nixl.test.ts',
  'node_modules/vitest/vitest.mjs',
  'system/libstdc++.so.6',
  'system/libz.so.1',
];
const NIXL = ['libnixl_capi.so', 'plugins/libplugin_UCX.so', 'plugins/libplugin_POSIX.so'];

describe('the folder for a GPU machine', () => {
  it('loads in an empty environment, and fails without a GPU', {
    timeout: 300_000,
  }, async (context) => {
    const reason = nixlMissing();
    if (reason !== undefined) context.skip(reason);
    const folder = await mkdtemp(join(tmpdir(), 'dynamo-gpu-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    const out = join(folder, 'dynamo-gpu');
    await execute(
      process.execPath,
      ['scripts/gather-gpu.mjs', '--out', out, '--addon', addonFile(), '--cudart', addonFile()],
      { cwd: root },
    );

    expect(PARTS.filter((part) => !existsSync(join(out, part)))).toEqual([]);
    const [python] = await readdir(join(out, '.peers/lib'));
    const packages = join(out, '.peers/lib', python as string, 'site-packages');
    expect(NIXL.filter((part) => !existsSync(join(packages, '.nixl_cu12.mesonpy.libs', part)))).toEqual([]);
    expect(await readdir(join(packages, 'nixl_cu12.libs/ucx'))).toEqual(
      expect.arrayContaining(['libuct_cuda.so.0.0.0', 'libucm_cuda.so.0.0.0', 'libuct_cma.so.0.0.0']),
    );

    const { available, reason: noGpu } = loadNixl({ mode: 'real' }).cuda;
    const ended = await new Promise<{ code: unknown; output: string }>((resolve) => {
      execFile('/bin/sh', [join(out, 'run.sh')], { env: {}, cwd: folder }, (error, stdout, stderr) =>
        resolve({ code: error?.code ?? 0, output: stdout + stderr }),
      );
    });
    if (available) {
      expect(ended).toMatchObject({ code: 0 });
    } else {
      // The library was found and loaded, and the driver was queried.
      expect(ended.output).toContain(`REQUIRE_GPU=1, but no GPU: ${noGpu}`);
      expect(ended.output).toMatch(/\n0 passed, [1-9]\d* failed, 0 skipped\n/);
      expect(ended.code).toBe(1);
    }
  });
});
