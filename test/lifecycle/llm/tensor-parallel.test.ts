import { describe, expect, it, onTestFinished } from 'vitest';
import { Child } from '../../helpers/child.js';
import { root } from '../../helpers/project.js';
import { waitFor } from '../../helpers/wait.js';

const isRunning = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

describe('the ranks of an engine', () => {
  it.each(['SIGKILL', 'SIGTERM', 'SIGINT'] as const)('end if its process ends by %s', async (signal) => {
    const env = { ...process.env, TSX_TSCONFIG_PATH: `${root}/tsconfig.check.json` };
    const child = Child.program('test/helpers/llm/programs/parallel-engine.ts', [], { env });
    onTestFinished(() => child.stop());
    const { pids } = (await child.event('started')) as unknown as { pids: number[] };
    expect(pids.map(isRunning)).toEqual([true]);
    child.kill(signal);
    expect((await child.exit()).signal).toBe(signal);
    await waitFor(
      'the end of the ranks',
      () => pids.filter(isRunning),
      (running) => running.length === 0,
    );
    expect(child.output).toBe('');
  });
});
