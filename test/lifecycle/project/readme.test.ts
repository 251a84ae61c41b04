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
    expect(example).toContain("'/tmp/dynamo'");
    expect(example!.trim().split('\n').length).toBeLessThanOrEqual(20);
    writeFileSync(join(folder, 'main.mts'), example!.replace('/tmp/dynamo', join(folder, 'discovery')));

    const { stdout } = await execute(process.execPath, ['--import', import.meta.resolve('tsx'), 'main.mts'], {
      cwd: folder,
      timeout: 50_000,
    });
    expect(stdout).toBe('moved\nin\nblocks\n');
  });
});
