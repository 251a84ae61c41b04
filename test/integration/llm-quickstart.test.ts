import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { freePort } from '../helpers/cluster.js';
import { root } from '../helpers/project.js';

const scratch = mkdtempSync(join(tmpdir(), 'quickstart-test-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

function start(...args: string[]) {
  const child = spawn(process.execPath, ['--import', 'tsx', join(root, 'examples/quickstart/main.ts'), ...args], {
    cwd: root,
    env: { ...process.env, TMPDIR: scratch },
    // A group of its own, as a shell gives it: the signal of a Ctrl-C reaches its workers too.
    detached: true,
  });
  const output = { text: '', error: '' };
  child.stdout.on('data', (part: Buffer) => (output.text += part));
  child.stderr.on('data', (part: Buffer) => (output.error += part));
  return { child, output, exited: once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]> };
}

/** The processes that the quickstart said it runs, of those that still do. */
function alive(text: string): number[] {
  const pids = [...text.matchAll(/\(process (\d+)\)/g)].map(([, pid]) => Number(pid));
  expect(pids).toHaveLength(3);
  return pids.filter((pid) => {
    try {
      return process.kill(pid, 0);
    } catch {
      return false;
    }
  });
}

const leftovers = () => readdirSync(scratch).filter((name) => name.startsWith('dynamo-quickstart-'));

describe('the quickstart', () => {
  it('answers its sample and ends with --once', async () => {
    const { output, exited } = start('--once', '--port', String(await freePort()));
    expect((await exited)[0], output.error).toBe(0);
    expect(output.text).toMatch(/^answer: .*tokens.*$/m);
    expect(alive(output.text)).toEqual([]);
    expect(leftovers()).toEqual([]);
  }, 60_000);

  it('leaves no process and no file after Ctrl-C', async () => {
    const { child, output, exited } = start('--port', String(await freePort()));
    child.stdout.on('data', () => {
      if (output.text.includes('Ctrl-C')) process.kill(-(child.pid as number), 'SIGINT');
    });
    expect((await exited)[0], output.error).toBe(0);
    expect(alive(output.text)).toEqual([]);
    expect(leftovers()).toEqual([]);
  }, 60_000);

  it('says in one line that its port is taken', async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    const { port } = taken.address() as { port: number };
    const { output, exited } = start('--port', String(port));
    expect((await exited)[0]).toBe(1);
    expect(output.error.trim().split('\n')).toEqual([expect.stringContaining(`127.0.0.1:${port}`)]);
    expect(leftovers()).toEqual([]);
    taken.close();
  }, 60_000);
});
