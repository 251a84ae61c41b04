import { chmodSync, cpSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { describe, expect, it, onTestFinished, vi } from 'vitest';

import { stateOf } from '../../../scripts/setup/native.mjs';
import { ensure, steps } from '../../../scripts/setup/steps.mjs';
import { execute, root } from '../../helpers/project.js';

/** What `scripts/setup.mjs` prints when it stops. `change` alters the process, whose PATH has only `programs`. */
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
  it('prints the one command to run without root, and names what only the tests need with --test', async () => {
    const build = await refusal(notRoot, { programs: ['apt-get'] });
    expect(build).toMatch(
      /^Some packages are missing. Run this, then try again:\n {2}sudo sh -c 'apt-get update && apt-get install .+'$/,
    );
    expect(build).toMatch(/ g\+\+ make cmake ninja-build mold /);
    expect(build).not.toMatch(/etcd|clang-format/);
    const test = await refusal(notRoot, { programs: ['apt-get'], args: ['--test'] });
    expect(test).toMatch(/ etcd-server nats-server( && systemctl disable [^']+)?'$/);
    expect(test).toMatch(/ clang-format-14 clang-tidy-14 /);
  });

  it('names no package whose content is installed', async () => {
    const message = await refusal(notRoot, { programs: ['apt-get', 'make', 'cmake', 'ninja', 'mold'] });
    expect(message).toMatch(/ g\+\+ pkg-config /);
  });

  it('names what is missing on a system without apt', async () => {
    expect(await refusal('')).toMatch(/^Install what these Debian packages contain, then try again: g\+\+ /);
  });

  it.each([
    ['another system', "Object.defineProperty(process, 'platform', { value: 'darwin' });", 'this is darwin.'],
    ['another processor', "Object.defineProperty(process, 'arch', { value: 'arm64' });", 'this is arm64.'],
    ['musl', 'process.report.getReport = () => ({ header: {} });', 'this is a C library that is not glibc (musl?).'],
    ['an old Node', "Object.defineProperty(process.versions, 'node', { value: '18.20.4' });", 'this is Node 18.20.4.'],
  ])('rejects %s and names what is supported', async (_what, change, found) => {
    expect(await refusal(change)).toBe(
      `dynamo-node builds and runs on Linux x86-64 with glibc, on Node 20, 22, 24 or 26; ${found}`,
    );
  });

  it('rejects compiler flags that replace those that the crates need', async () => {
    expect(await refusal('', { env: { RUSTFLAGS: '-C target-cpu=native' } })).toContain(
      'RUSTFLAGS lacks `--cfg tokio_unstable`',
    );
  });

  it('continues without an optional step, reports it, and tries it again the next time', async () => {
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

  it('continues without NIXL if Python is missing, and reports that the mock is used', async () => {
    // A step works on the checkout that contains it.
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

describe('the native build', () => {
  it.each([
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
  ])('reads the progress of the build from the line %j', (line, state) => {
    expect(stateOf(line)).toEqual(state);
  });
});
