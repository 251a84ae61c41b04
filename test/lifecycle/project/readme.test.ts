import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { describe, expect, it, onTestFinished } from 'vitest';

import { execute, root } from '../../helpers/project.js';

describe('the first program of the README', () => {
  it('runs unchanged and ends without help', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'dynamo-readme-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    mkdirSync(join(folder, 'node_modules'));
    symlinkSync(root, join(folder, 'node_modules/dynamo-node'));
    const [, example] = /```ts\n([\s\S]*?)```/.exec(readFileSync(join(root, 'README.md'), 'utf8'))!;
    // A fixed folder below /tmp could belong to another user.
    expect(example).not.toContain('/tmp');
    expect(example).toContain('closeOnSignal(');
    expect(example!.trim().split('\n').length).toBeLessThanOrEqual(21);
    writeFileSync(join(folder, 'main.mts'), example!);

    const { stdout } = await execute(process.execPath, ['--import', import.meta.resolve('tsx'), 'main.mts'], {
      cwd: folder,
      env: { ...process.env, DYN_FILE_KV: join(folder, 'discovery') },
      timeout: 50_000,
    });
    expect(stdout).toBe('moved\nin\nblocks\n');
  });
});
