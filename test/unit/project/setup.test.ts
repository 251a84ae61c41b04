import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

import { describe, expect, it, onTestFinished, vi } from 'vitest';

import { stateOf } from '../../../scripts/setup/native.mjs';
import { ensure, steps } from '../../../scripts/setup/steps.mjs';
import { execute, root } from '../../helpers/project.js';
import { waitFor } from '../../helpers/wait.js';

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
    expect(test).toMatch(
      / etcd-server nats-server chromium docker-registry skopeo umoci( && systemctl disable [^']+)?'$/,
    );
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

/** A checkout with the scripts, an old addon and an old dist. Its compilers are `program`. */
function checkout(program: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'dynamo-checkout-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  cpSync(join(root, 'scripts'), join(folder, 'scripts'), { recursive: true });
  const files = {
    'build/Release/dynamo_node.node': 'old addon',
    'dist/index.js': 'old dist',
    'dist/old.js': '',
    'native/a.cc': '',
    'lib/a.ts': '',
    'binding.gyp': '',
    'package.json': '{}',
    'package-lock.json': '',
    'tsconfig.json': '',
    'node_modules/node-gyp/bin/node-gyp.js': program,
    'node_modules/typescript/bin/tsc': program,
  };
  for (const [file, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    writeFileSync(join(folder, file), content);
  }
  return folder;
}

const ENSURE = `import { ensure } from './scripts/setup/steps.mjs';
import { main } from './scripts/setup/index.mjs';
await main(() => ensure(process.argv[1]));`;

const start = (folder: string, step: string) =>
  spawn(process.execPath, ['--input-type=module', '-e', ENSURE, step], { cwd: folder, detached: true });

/** What a compiler does: it removes the output first, and writes to that of `tsc --outDir FOLDER`. */
const REMOVES = `const { mkdirSync, rmSync, writeFileSync } = require('node:fs');
const at = process.argv.indexOf('--outDir');
const output = at === -1 ? 'build/Release/dynamo_node.node' : process.argv[at + 1] + '/index.js';
mkdirSync(require('node:path').dirname(output), { recursive: true });
rmSync(output, { force: true });
`;

describe('a build', () => {
  const read = (folder: string, file: string) => readFileSync(join(folder, file), 'utf8');
  const state = (folder: string) => ({
    addon: read(folder, 'build/Release/dynamo_node.node'),
    dist: read(folder, 'dist/index.js'),
    left: readdirSync(folder).filter((name) => name.endsWith('.new')),
    before: existsSync(join(folder, '.setup/dynamo_node.node.before')),
  });
  const old = { addon: 'old addon', dist: 'old dist', left: [], before: false };

  it.each(['native', 'typescript'])('of %s leaves the old output if a signal ends it', async (step) => {
    const folder = checkout(`${REMOVES}writeFileSync('started', '');\nsetInterval(() => {}, 1000);\n`);
    for (const toGroup of [false, true]) {
      const child = start(folder, step);
      const ended = once(child, 'close');
      await waitFor('the compiler', () => existsSync(join(folder, 'started')));
      process.kill(toGroup ? -(child.pid as number) : (child.pid as number), 'SIGINT');
      expect(await ended).toEqual([null, 'SIGINT']);
      expect(state(folder)).toEqual(old);
      expect(existsSync(join(folder, '.setup', step))).toBe(false);
      rmSync(join(folder, 'started'));
    }
  });

  it.each(['native', 'typescript'])('of %s leaves the old output if it fails', async (step) => {
    const folder = checkout(`${REMOVES}process.exit(3);\n`);
    const [code] = (await once(start(folder, step), 'close')) as [number];
    expect(code).toBe(1);
    expect(state(folder)).toEqual(old);
  });

  it('replaces the old output, and returns the addon that a killed build has removed', async () => {
    const folder = checkout(`${REMOVES}writeFileSync(output, 'new');\n`);
    for (const step of ['native', 'typescript']) expect(await once(start(folder, step), 'close')).toEqual([0, null]);
    expect(state(folder)).toEqual({ ...old, addon: 'new', dist: 'new' });
    expect(existsSync(join(folder, 'dist/old.js'))).toBe(false);
    const killed = checkout(`${REMOVES}process.exit(3);\n`);
    mkdirSync(join(killed, '.setup'));
    renameSync(join(killed, 'build/Release/dynamo_node.node'), join(killed, '.setup/dynamo_node.node.before'));
    await once(start(killed, 'native'), 'close');
    expect(state(killed)).toEqual(old);
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
