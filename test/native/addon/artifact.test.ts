import { createReadStream } from 'node:fs';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createGzip } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addonFile, execute, root } from '../../helpers/project.js';

const budgetBytes = { stripped: 110e6, gzipped: 42e6 };
const newestGlibc = [2, 36] as const;
const entryPoints = ['napi_register_module_v1', 'node_api_module_get_api_version_v1'];
const allowedLibraries = /^(libc|libm|libdl|libpthread|librt|ld-linux-x86-64)\.so\.\d+$/;

const outputOf = async (command: string, ...args: string[]) =>
  (await execute(command, args, { maxBuffer: 64 * 1024 * 1024 })).stdout;

describe('the addon file', () => {
  let folder: string;
  let stripped: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'dynamo-artifact-'));
    stripped = join(folder, 'dynamo_node.node');
    await execute('strip', ['-o', stripped, addonFile()]);
  });

  afterAll(() => rm(folder, { recursive: true }));

  it('is within its budget when stripped', async () => {
    expect((await stat(stripped)).size).toBeLessThanOrEqual(budgetBytes.stripped);
  });

  it('is within its budget when gzipped', async () => {
    let bytes = 0;
    for await (const chunk of createReadStream(stripped).pipe(createGzip())) bytes += (chunk as Buffer).length;
    expect(bytes).toBeLessThanOrEqual(budgetBytes.gzipped);
  });

  it('exports only the two N-API entry points', async () => {
    const symbols = (await outputOf('nm', '-D', '--defined-only', stripped)).trim().split('\n');
    expect(symbols.map((line) => line.split(' ').at(-1)).sort()).toEqual(entryPoints);
  });

  it('needs no symbol newer than the oldest supported glibc', async () => {
    const versions = (await outputOf('readelf', '--version-info', '--wide', stripped)).matchAll(/GLIBC_(\d+)\.(\d+)/g);
    const newer = [...versions].filter(
      ([, major, minor]) => Number(major) * 1000 + Number(minor) > newestGlibc[0] * 1000 + newestGlibc[1],
    );
    expect([...new Set(newer.map(([name]) => name))]).toEqual([]);
  });

  it('notices overrun buffers', async () => {
    const symbols = await outputOf('nm', '-D', '--undefined-only', stripped);
    expect(symbols).toContain('__stack_chk_fail');
    expect(symbols).toContain('__memcpy_chk');
  });

  it('needs no library beyond those of glibc', async () => {
    const needed = [...(await outputOf('readelf', '--dynamic', '--wide', stripped)).matchAll(/\(NEEDED\).*\[(.+)\]/g)];
    expect(needed.map(([, name]) => name).filter((name) => !allowedLibraries.test(name ?? ''))).toEqual([]);
  });
});

describe('a published addon', () => {
  const testFunctions = ['conformanceInbox', 'conformanceRun', 'kvbmBench', 'nixlRegionCopy'];
  const includes = ['native/core/include', 'node_modules/node-api-headers/include', 'node_modules/node-addon-api'];

  /** The functions for tests and benchmarks in the tables of native/binding, as the preprocessor leaves them. */
  const testFunctionsOf = async (...defines: string[]) => {
    const tables = ['testing.cc', 'nixl.cc'].map((file) => join(root, 'native/binding', file));
    const flags = ['-std=c++20', '-E', ...includes.map((folder) => `-I${join(root, folder)}`), ...defines];
    const text = await outputOf('c++', ...flags, ...tables);
    return testFunctions.filter((name) => text.includes(`"${name}"`));
  };

  it('has no function that only tests and benchmarks call', async () => {
    expect(await testFunctionsOf()).toEqual([]);
  });

  it('differs from a development build in just these functions', async () => {
    expect(await testFunctionsOf('-DDYNAMO_TESTING')).toEqual(testFunctions);
  });
});
