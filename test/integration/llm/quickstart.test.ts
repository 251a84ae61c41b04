import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { isDone } from '../../../scripts/setup/steps.mjs';
import { execute, root } from '../../helpers/project.js';
import { freePort } from '../../helpers/runtime/cluster.js';
import { waitFor } from '../../helpers/wait.js';

const scratch = mkdtempSync(join(tmpdir(), 'quickstart-test-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const start = (...args: string[]) =>
  run(process.execPath, '--import', 'tsx', join(root, 'examples/quickstart/main.ts'), ...args);

function run(command: string, ...args: string[]) {
  const child = spawn(command, args, {
    cwd: root,
    env: { ...process.env, TMPDIR: scratch },
    // A process group, as in a shell: the signal of a Ctrl-C reaches the workers too.
    detached: true,
  });
  const output = { text: '', error: '' };
  child.stdout.on('data', (part: Buffer) => (output.text += part));
  child.stderr.on('data', (part: Buffer) => (output.error += part));
  return { child, output, exited: once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]> };
}

/** Starts the quickstart and waits until it has answered the sample question. */
async function startAndAnswer() {
  const started = start('--port', String(await freePort()));
  await waitFor(
    'the end of the sample',
    () => started.output.text,
    (text) => text.includes('Ctrl-C'),
    50_000,
  );
  return started;
}

/** The processes in the quickstart's output that still run. */
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
  it('answers the sample question and ends with --once', async () => {
    const { output, exited } = start('--once', '--port', String(await freePort()));
    expect((await exited)[0], output.error).toBe(0);
    expect(output.text).toMatch(/^answer: .*tokens.*$/m);
    expect(alive(output.text)).toEqual([]);
    expect(leftovers()).toEqual([]);
  });

  it('leaves no process and no file after Ctrl-C', async () => {
    const { child, output, exited } = start('--port', String(await freePort()));
    child.stdout.on('data', () => {
      if (output.text.includes('Ctrl-C')) process.kill(-(child.pid as number), 'SIGINT');
    });
    expect((await exited)[0], output.error).toBe(0);
    expect(alive(output.text)).toEqual([]);
    expect(leftovers()).toEqual([]);
  });

  it('reports a port that is in use, and leaves nothing', async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    const { port } = taken.address() as { port: number };
    const { output, exited } = start('--port', String(port));
    expect((await exited)[0]).toBe(1);
    expect(output.error).toContain(`cannot listen on 127.0.0.1:${port} (http): the port is already in use`);
    expect(leftovers()).toEqual([]);
    taken.close();
  });

  it('prints a curl command that streams an answer', async () => {
    const { child, output, exited } = await startAndAnswer();
    const [line] = output.text.match(/^ *curl .*$/m) as [string];
    const { stdout } = await execute('sh', ['-c', line]);
    expect(stdout).toMatch(/^data: \{.*"content":/m);
    expect(stdout.trim().endsWith('data: [DONE]')).toBe(true);
    process.kill(-(child.pid as number), 'SIGINT');
    expect((await exited)[0], output.error).toBe(0);
  });

  it('leaves no process and no file after Ctrl-C with requests in flight', async () => {
    const { child, output, exited } = await startAndAnswer();
    const [, url] = output.text.match(/^frontend +(\S+)/m) as unknown as [string, string];
    // More tokens than are generated before the Ctrl-C.
    const body = JSON.stringify({
      model: 'tiny-llama',
      messages: [{ role: 'user', content: 'What is KVBM?' }],
      max_tokens: 3000,
      stream: true,
      nvext: { ignore_eos: true },
    });
    const ask = () =>
      fetch(`${url}/v1/chat/completions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
    const bodies = await Promise.all(
      Array.from({ length: 8 }, async () => ((await ask()).body as ReadableStream<Uint8Array>).getReader()),
    );
    for (const reader of bodies) expect((await reader.read()).done).toBe(false);
    process.kill(-(child.pid as number), 'SIGINT');
    const read = async (reader: ReadableStreamDefaultReader<Uint8Array>): Promise<void> => {
      while (!(await reader.read()).done);
    };
    // Each stream ends or fails. None stays open.
    await Promise.allSettled(bodies.map(read));
    expect((await exited)[0], output.error).toBe(0);
    expect(alive(output.text)).toEqual([]);
    expect(leftovers()).toEqual([]);
  });

  it.for([
    ['npm start', ['start', '--']],
    ['npm run example', ['run', 'example', '--', 'quickstart']],
  ] as const)('runs with %s after a set-up that has nothing to do', async ([, args], { skip }) => {
    const undone = ['packages', 'native', 'typescript'].filter((name) => !isDone(name));
    skip(undone.length > 0, `npm run setup has not run since a change of: ${undone.join(', ')}`);
    const { output, exited } = run('npm', ...args, '--once', '--port', String(await freePort()));
    expect((await exited)[0], output.error).toBe(0);
    expect(output.text).toMatch(/^answer: .*tokens.*$/m);
    const [, seconds] = output.text.match(/^set-up: nothing to do \((\S+) s\)$/m) as unknown as [string, string];
    expect(Number(seconds)).toBeLessThan(5);
    expect(alive(output.text)).toEqual([]);
    expect(leftovers()).toEqual([]);
  });
});
