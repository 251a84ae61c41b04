import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { expect, it, onTestFinished } from 'vitest';
import { isRunning, ownProcessId } from '../../../lib/deploy/local/process-id.js';
import { waitFor } from '../../../lib/testing/wait.js';

const fieldsOf = (pid: number): string[] =>
  readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ');

it('finds this process', () => {
  expect(isRunning(ownProcessId())).toBe(true);
  expect(isRunning({ ...ownProcessId(), startTime: '1' })).toBe(false);
});

it('does not count a process that has ended and that its parent has not asked for', async () => {
  // The shell becomes another program, which asks for no child.
  const parent = spawn('sh', ['-c', 'sleep 0.2 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] });
  onTestFinished(() => void parent.kill());
  const [line] = (await once(parent.stdout, 'data')) as [Buffer];
  const pid = Number(line.toString());
  const id = { pid, startTime: fieldsOf(pid)[19] as string };
  expect(isRunning(id)).toBe(true);
  await waitFor(
    'the end',
    () => fieldsOf(pid)[0],
    (state) => state === 'Z',
  );
  expect(isRunning(id)).toBe(false);
});
