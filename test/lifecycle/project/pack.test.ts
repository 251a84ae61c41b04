import { copyFile, cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { linkedCrates, notices, runtimePackages } from '../../../scripts/licenses.mjs';
import { installRust } from '../../../scripts/setup/rust.mjs';
import { addonFile, execute, root } from '../../helpers/project.js';

const published = ['package.json', 'dist', 'lib/dashboard/page', 'README.md', 'LICENSE'];
const unreachable = /npm error code (ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENOTCACHED)/;

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dynamo-pack-'));
});

afterEach(() => rm(folder, { recursive: true }));

/** Packs what would be published. The addon of this checkout takes the place of the prebuild. */
async function pack(): Promise<string> {
  const staging = join(folder, 'staging');
  const prebuilds = join(staging, 'prebuilds/linux-x64');
  await mkdir(prebuilds, { recursive: true });
  for (const name of published) await cp(join(root, name), join(staging, name), { recursive: true });
  await installRust();
  await writeFile(join(staging, 'THIRD_PARTY_NOTICES'), notices(linkedCrates(), runtimePackages()));
  await execute('strip', ['-o', join(prebuilds, 'dynamo-node.glibc.node'), addonFile()]);
  await execute('npm', ['pack', '--ignore-scripts', '--pack-destination', folder], { cwd: staging });
  const tarball = (await readdir(folder)).find((name) => name.endsWith('.tgz'));
  return join(folder, tarball!);
}

describe('the tarball', () => {
  it('contains licences, types and the page of the live view, but no sources and no tests', async () => {
    const { stdout } = await execute('tar', ['-tzf', await pack()]);
    const files = stdout
      .trim()
      .split('\n')
      .map((name) => name.replace('package/', ''));
    const wanted = [
      'LICENSE',
      'THIRD_PARTY_NOTICES',
      'README.md',
      'dist/index.js',
      'dist/index.d.ts',
      'dist/testing/index.js',
      'dist/cli/main.js',
      'lib/dashboard/page/index.html',
      'prebuilds/linux-x64/dynamo-node.glibc.node',
    ];
    expect(files).toEqual(expect.arrayContaining(wanted));
    const texts = /^(package\.json|LICENSE|THIRD_PARTY_NOTICES|README\.md)$/;
    const built = /^((dist|prebuilds)\/.+|lib\/dashboard\/page\/\w+\.(css|html|svg))$/;
    expect(files.filter((name) => !texts.test(name) && !built.test(name))).toEqual([]);
  });

  it('installs into an empty folder without scripts, serves and calls an endpoint, and has correct types', {
    timeout: 240_000,
  }, async (context) => {
    const tarball = await pack();
    const app = join(folder, 'app');
    await mkdir(app);
    await writeFile(join(app, 'package.json'), '{"private": true}');

    const flags = ['--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund', '--fetch-retries=0'];
    try {
      await execute('npm', ['install', ...flags, tarball], { cwd: app });
    } catch (error) {
      if (unreachable.test((error as { stderr: string }).stderr)) context.skip('no package registry can be reached');
      throw error;
    }

    await copyFile(join(root, 'test/fixtures/pack-smoke.mjs'), join(app, 'smoke.mjs'));
    const { stdout } = await execute(process.execPath, ['smoke.mjs'], { cwd: app, timeout: 60_000 });
    expect(stdout).toContain('answered');
    for (const name of ['dynamo', 'dynamo-node']) {
      const version = await execute(join(app, 'node_modules/.bin', name), ['--version']);
      expect(version.stdout).toMatch(/^dynamo-node \d/);
    }

    // The README's first program, compiled by a user who also checks the types of libraries.
    const [, example] = /```ts\n(.*?)```/s.exec(await readFile(join(root, 'README.md'), 'utf8')) as unknown as [
      string,
      string,
    ];
    await writeFile(join(app, 'main.mts'), example);
    const strict = [
      '--noEmit',
      '--strict',
      '--exactOptionalPropertyTypes',
      '--skipLibCheck',
      'false',
      '--target',
      'es2022',
      '--lib',
      'es2023,esnext.disposable',
    ];
    const types = ['--typeRoots', join(root, 'node_modules/@types'), '--types', 'node', '--module', 'nodenext'];
    await execute(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), ...strict, ...types, 'main.mts'], {
      cwd: app,
    });
  });
});
