import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { describe, expect, it, onTestFinished } from 'vitest';

import { execute, root } from '../../helpers/project.js';

const SUPPORTED = 'supported are Linux on x64 with glibc 2.36 or newer, and Node.js 20, 22, 24 and 26';

const PRINT =
  "await import('./lib/index.ts').then(() => console.log('loaded'), (error) => console.log(error.message));";

/**
 * The output of a process that imports the package from a folder without an addon, after a script has changed
 * properties of Node.js.
 */
async function importBehind(change: string, addon?: string): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'dynamo-load-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  cpSync(join(root, 'lib'), join(folder, 'lib'), { recursive: true });
  cpSync(join(root, 'package.json'), join(folder, 'package.json'));
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  if (addon !== undefined) {
    mkdirSync(join(folder, 'build/Release'), { recursive: true });
    writeFileSync(join(folder, 'build/Release/dynamo_node.node'), addon);
  }
  writeFileSync(join(folder, 'main.mjs'), `${change}\n${PRINT}\n`);
  const { stdout } = await execute(
    process.execPath,
    ['--import', import.meta.resolve('tsx'), join(folder, 'main.mjs')],
    { cwd: folder },
  );
  return stdout.trim();
}

const set = (object: string, name: string, value: string): string =>
  `Object.defineProperty(${object}, '${name}', { value: ${value} });`;

const cases: [where: string, change: string, reason: string][] = [
  [
    'macOS',
    set('process', 'platform', "'darwin'"),
    'darwin is not supported: Dynamo runs on Linux (a container is enough)',
  ],
  [
    'Windows',
    set('process', 'platform', "'win32'"),
    'win32 is not supported: Dynamo runs on Linux (a container is enough)',
  ],
  ['arm64', set('process', 'arch', "'arm64'"), 'the processor architecture arm64 is not supported'],
  ['Bun', 'globalThis.Bun = {};', 'Bun is not supported: run the program with Node.js'],
  ['Deno', 'globalThis.Deno = {};', 'Deno is not supported: run the program with Node.js'],
  ['Node.js 18', set('process.versions', 'node', "'18.20.4'"), 'Node.js 18.20.4 is too old'],
  [
    'musl',
    'process.report.getReport = () => ({ header: {} });',
    'musl libc (Alpine) is not supported: use an image with glibc, such as node:22-bookworm',
  ],
];

describe('the error of a process that cannot load the addon names the reason and the supported systems', () => {
  it.each(cases)('on %s', async (_where, change, reason) => {
    expect(await importBehind(change)).toBe(`dynamo-node cannot load its native addon: ${reason}; ${SUPPORTED}`);
  });

  it('with an older glibc', async () => {
    const linker = 'process.dlopen = () => { throw new Error("/lib/libc.so.6: version `GLIBC_2.36\' not found"); };';
    const message = await importBehind(
      `${linker} process.report.getReport = () => ({ header: { glibcVersionRuntime: '2.35' } });`,
      'any',
    );
    expect(message).toBe(`dynamo-node cannot load its native addon: glibc 2.35 is too old; ${SUPPORTED}`);
  });

  it('with a checkout that is not built, or a file that is not an addon', async () => {
    for (const addon of [undefined, 'not an addon']) {
      expect(await importBehind('', addon)).toContain('no usable binary was found in prebuilds/ or build/Release');
    }
  });

  it.each(['esm', 'cjs'] as const)('inside a bundle of esbuild (%s)', async (format) => {
    const folder = mkdtempSync(join(tmpdir(), 'dynamo-bundle-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const outfile = join(folder, format === 'esm' ? 'main.mjs' : 'main.cjs');
    const entry = join(root, 'lib/index.ts');
    await execute(process.execPath, [
      join(root, 'node_modules/esbuild/bin/esbuild'),
      entry,
      '--bundle',
      '--platform=node',
      '--target=node20',
      `--format=${format}`,
      `--outfile=${outfile}`,
    ]);
    await expect(execute(process.execPath, [outfile])).rejects.toMatchObject({
      stderr: expect.stringContaining(
        'dynamo-node cannot load its native addon: the package is inside a bundle, which does not contain the ' +
          'binary: exclude it from the bundle (esbuild: `--external:dynamo-node`',
      ),
    });
  });

  const permission = process.allowedNodeEnvironmentFlags.has('--permission')
    ? '--permission'
    : '--experimental-permission';

  it.each([
    ['--no-addons', ['--no-addons'], 'this process may not load addons: remove `--no-addons`'],
    ['the permission model', [permission, '--allow-fs-read=*'], 'under the permission model pass `--allow-addons`'],
    ['its files', [permission, '--allow-addons', '--allow-fs-read=FOLDER'], 'the permission model denies reading /'],
  ])('with %s', async (_, flags, reason) => {
    const folder = mkdtempSync(join(tmpdir(), 'dynamo-denied-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    mkdirSync(join(folder, 'dist/addon'), { recursive: true });
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
    cpSync(join(root, 'package.json'), join(folder, 'package.json'));
    mkdirSync(join(folder, 'build/Release'), { recursive: true });
    writeFileSync(join(folder, 'build/Release/dynamo_node.node'), 'not loaded');
    const outfile = join(folder, 'dist/addon/load.js');
    await execute(process.execPath, [
      join(root, 'node_modules/esbuild/bin/esbuild'),
      join(root, 'lib/addon/load.ts'),
      `--outfile=${outfile}`,
    ]);
    const given = flags.map((flag) => flag.replace('FOLDER', join(folder, 'dist')));
    await expect(execute(process.execPath, [...given, outfile])).rejects.toMatchObject({
      stderr: expect.stringContaining(reason),
    });
  });
});
