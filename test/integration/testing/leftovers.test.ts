import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TestProcess } from 'dynamo-node/testing';
import { describe, expect, it } from 'vitest';

import { root } from '../../helpers/project.js';
import type { Started } from '../../helpers/testing/failing-test.js';
import { waitFor } from '../../helpers/wait.js';

const programs = join(root, 'test/helpers/testing/programs');
const vitest = [join(root, 'node_modules/vitest/vitest.mjs'), 'run', '--config', join(programs, 'vitest.config.ts')];
const RUNNERS = {
  'node:test': ['--import', 'tsx', '--test', join(programs, 'failing.node.ts')],
  vitest: [...vitest, join(programs, 'failing.vitest.ts')],
};

const isRunning = (pid: number): boolean => {
  try {
    return !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
};

const isOpen = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => resolve(true));
    socket.on('error', () => resolve(false)).once('connect', () => socket.destroy());
  });

describe.each(Object.entries(RUNNERS))('a failed test of %s', (_, args) => {
  it.each(['throw', 'hang', 'exit'])('leaves no process, port or file after: %s', async (fault) => {
    const folder = mkdtempSync(join(tmpdir(), 'leftovers-'));
    const report = join(folder, 'started.json');
    await using runner = TestProcess.start(process.execPath, args, {
      cwd: root,
      env: { STARTED: report, FAULT: fault, TSX_TSCONFIG_PATH: join(root, 'tsconfig.check.json') },
    });
    const end = await runner.exit();
    expect(end.code, runner.output).not.toBe(0);
    const started = JSON.parse(readFileSync(report, 'utf8')) as Started;
    expect(started.pids.length).toBe(5);
    await waitFor(
      'the end of all processes',
      () => started.pids.filter(isRunning),
      (pids) => pids.length === 0,
      10_000,
    );
    expect(await isOpen(started.port)).toBe(false);
    expect(existsSync(started.folder)).toBe(false);
    rmSync(folder, { recursive: true });
  });
});
