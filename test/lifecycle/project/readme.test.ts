import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { describe, expect, it, onTestFinished } from 'vitest';

import { execute, root } from '../../helpers/project.js';
import { freePort } from '../../helpers/runtime/cluster.js';

const programs = [...readFileSync(join(root, 'README.md'), 'utf8').matchAll(/```ts\n([\s\S]*?)```/g)].map(
  ([, program]) => program as string,
);

/** A folder of a user who has installed the package. */
function userFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'dynamo-readme-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(root, join(folder, 'node_modules/dynamo-node'));
  symlinkSync(join(root, 'node_modules/tsx'), join(folder, 'node_modules/tsx'));
  writeFileSync(join(folder, 'package.json'), '{"name": "words", "type": "module"}');
  return folder;
}

describe('the programs of the README', () => {
  it('are a graph and a worker with its caller', () => {
    expect(programs.map((program) => program.trim().split('\n').length <= 23)).toEqual([true, true]);
    // A fixed folder below /tmp could belong to another user.
    expect(programs.join('')).not.toContain('/tmp');
  });

  it('serve the graph unchanged, which answers as the curl command asks', async () => {
    const folder = userFolder();
    writeFileSync(join(folder, 'graph.ts'), programs[0] as string);
    const port = await freePort();
    const serve = spawn(
      process.execPath,
      [join(root, 'dist/cli/main.js'), 'serve', 'graph.ts', '--port', String(port), '--json'],
      { cwd: folder, env: { ...process.env, DYN_LOCAL_STATE_DIR: join(folder, 'state') } },
    );
    onTestFinished(() => void serve.kill('SIGKILL'));
    let error = '';
    serve.stderr.on('data', (part: Buffer) => (error += part));
    const exited = once(serve, 'exit') as Promise<[number | null]>;
    await Promise.race([once(serve.stdout, 'data'), exited.then(() => Promise.reject(new Error(error)))]);

    const headers = { 'content-type': 'application/json' };
    const response = await fetch(`http://127.0.0.1:${port}/generate`, {
      method: 'POST',
      headers,
      body: '"moved in blocks"',
    });
    expect(await response.text()).toBe('"MOVED"\n"IN"\n"BLOCKS"\n');
    serve.kill('SIGINT');
    expect((await exited)[0], error).toBe(0);
  });

  it('run the worker and its caller unchanged, and end without help', async () => {
    const folder = userFolder();
    expect(programs[1]).toContain('closeOnSignal(');
    writeFileSync(join(folder, 'main.mts'), programs[1] as string);
    const { stdout } = await execute(process.execPath, ['--import', 'tsx', 'main.mts'], {
      cwd: folder,
      env: { ...process.env, DYN_FILE_KV: join(folder, 'discovery') },
      timeout: 50_000,
    });
    expect(stdout).toBe('moved\nin\nblocks\n');
  });
});
