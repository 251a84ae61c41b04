import { chmodSync, cpSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { describe, expect, onTestFinished, test, vi } from 'vitest';

import { stateOf } from '../../../scripts/setup/native.mjs';
import { ensure, steps } from '../../../scripts/setup/steps.mjs';
import { execute, root } from '../../helpers/project.js';

/** What `scripts/setup.mjs` prints where it refuses to go on, on a machine that looks as `change` and these programs make it. */
async function refusal(
  change: string,
  options: { programs?: readonly string[]; args?: readonly string[]; env?: NodeJS.ProcessEnv } = {},
): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'dynamo-setup-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  for (const program of options.programs ?? []) {
    writeFileSync(join(folder, program), '#!/bin/sh\nexit 1\n');
    chmodSync(join(folder, program), 0o755);
  }
  const args = [
    '--import',
    `data:text/javascript,${encodeURIComponent(change)}`,
    'scripts/setup.mjs',
    ...(options.args ?? []),
  ];
  const run = execute(process.execPath, args, { cwd: root, env: { HOME: folder, PATH: folder, ...options.env } });
  const { code, stderr } = await run.then(
    () => ({ code: 0, stderr: '' }),
    (error: { code: number; stderr: string }) => error,
  );
  expect(code).toBe(1);
  return stderr.trim();
}

const notRoot = 'process.getuid = () => 1000;';

describe('the set-up', () => {
  test('without root prints the one command to run, and what the tests need only where they are asked for', async () => {
    const build = await refusal(notRoot, { programs: ['apt-get'] });
    expect(build).toMatch(
      /^Some packages are missing. Run this, then try again:\n {2}sudo sh -c 'apt-get update && apt-get install [^']+'$/,
    );
    expect(build).toMatch(/ g\+\+ make cmake ninja-build mold /);
    expect(build).not.toContain('etcd');
    expect(await refusal(notRoot, { programs: ['apt-get'], args: ['--test'] })).toMatch(
      / etcd-server nats-server( && systemctl disable [^']+)?'$/,
    );
  });

  test('asks for no package whose content is there already', async () => {
    const message = await refusal(notRoot, { programs: ['apt-get', 'make', 'cmake', 'ninja', 'mold'] });
    expect(message).toMatch(/ g\+\+ pkg-config /);
  });

  test('names what is missing where there is no apt', async () => {
    expect(await refusal('')).toMatch(/^Install what these Debian packages hold, then try again: g\+\+ /);
  });

  test.each([
    ['another system', "Object.defineProperty(process, 'platform', { value: 'darwin' });", 'this is darwin.'],
    ['another processor', "Object.defineProperty(process, 'arch', { value: 'arm64' });", 'this is arm64.'],
    ['musl', 'process.report.getReport = () => ({ header: {} });', 'this is a C library that is not glibc (musl?).'],
    ['an old Node', "Object.defineProperty(process.versions, 'node', { value: '18.20.4' });", 'this is Node 18.20.4.'],
  ])('refuses %s, naming what is supported', async (_what, change, found) => {
    expect(await refusal(change)).toBe(
      `dynamo-node builds and runs on Linux x86-64 with glibc, on Node 20, 22 or 24; ${found}`,
    );
  });

  test('refuses flags that would replace those that the crates need', async () => {
    expect(await refusal('', { env: { RUSTFLAGS: '-C target-cpu=native' } })).toContain(
      'RUSTFLAGS lacks `--cfg tokio_unstable`',
    );
  });

  test('goes on without a step that has another way, says so, and tries it again the next time', async () => {
    const name = `planted-${process.pid}`;
    onTestFinished(() => rmSync(join(root, '.setup', name), { force: true }));
    const log = vi.spyOn(console, 'log').mockImplementation(() => {});
    onTestFinished(() => log.mockRestore());
    const run = vi.fn(() => Promise.reject(new Error('no network')));
    steps[name] = { inputs: ['package.json'], output: 'package.json', otherwise: 'the mock is used', run };
    onTestFinished(() => void delete steps[name]);

    expect(await ensure(name)).toBe(false);
    expect(await ensure(name)).toBe(false);
    expect(run).toHaveBeenCalledTimes(2);
    expect(log).toHaveBeenCalledWith('set-up: the mock is used (no network)');
    expect(existsSync(join(root, '.setup', name))).toBe(false);

    steps[name] = { inputs: ['package.json'], output: 'package.json', run };
    await expect(ensure(name)).rejects.toThrow('no network');
  });

  test('without Python goes on without NIXL, and says that its mock is used', async () => {
    // Another checkout, as the steps know only their own.
    const folder = mkdtempSync(join(tmpdir(), 'dynamo-setup-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    cpSync(join(root, 'scripts'), join(folder, 'scripts'), { recursive: true });
    const program = "import { ensure } from './scripts/setup/steps.mjs'; console.log(await ensure('nixl'));";
    const { stdout } = await execute(process.execPath, ['--input-type=module', '-e', program], {
      cwd: folder,
      env: { PATH: folder, HOME: folder },
    });
    const [first, second, ...rest] = stdout.trim().split('\n');
    expect(first).toBe('set-up: nixl');
    expect(second).toMatch(
      /^set-up: the NIXL library could not be installed: tests and examples use its mock backend \(.*python3.*\)$/,
    );
    expect(rest).toEqual(['false']);
    expect(existsSync(join(folder, '.setup/nixl'))).toBe(false);
  });
});

test.each([
  [
    '    Building [=======>     ] 812/1005: dynamo-llm, dynamo-runtime(build)      ',
    { text: '812/1005 crates, dynamo-llm', transient: true },
  ],
  [
    '    Building [=====================> ] 1004/1005: dynamo-core                ',
    { text: '1004/1005 crates, dynamo-core', transient: true },
  ],
  [' Downloading [===>     ] 3/9: serde', { text: 'downloading crates', transient: true }],
  ['  Downloaded serde v1.0.0', { text: 'downloading serde', transient: false }],
  [
    '[18/42] Building CXX object CMakeFiles/dynamo_nixl.dir/nixl/transfer.cc.o',
    { text: 'C++ 18/42, transfer.cc', transient: false },
  ],
  ['[45/45] Linking CXX shared module dynamo_node.node', { text: 'linking', transient: false }],
  ['   Compiling dynamo-core v0.1.0', undefined],
])('the progress of the build is read from its lines: %s', (line, state) => {
  expect(stateOf(line)).toEqual(state);
});
