import { createReadStream } from 'node:fs';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createGzip } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addonFile, execute } from '../../helpers/project.js';

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

  test('is within its budget when stripped', async () => {
    expect((await stat(stripped)).size).toBeLessThanOrEqual(budgetBytes.stripped);
  });

  test('is within its budget when gzipped', async () => {
    let bytes = 0;
    for await (const chunk of createReadStream(stripped).pipe(createGzip())) bytes += (chunk as Buffer).length;
    expect(bytes).toBeLessThanOrEqual(budgetBytes.gzipped);
  });

  test('exports the two N-API entry points and nothing that could bind to a symbol of Node', async () => {
    const symbols = (await outputOf('nm', '-D', '--defined-only', stripped)).trim().split('\n');
    expect(symbols.map((line) => line.split(' ').at(-1)).sort()).toEqual(entryPoints);
  });

  test('asks for no symbol newer than the oldest supported glibc', async () => {
    const versions = (await outputOf('readelf', '--version-info', '--wide', stripped)).matchAll(/GLIBC_(\d+)\.(\d+)/g);
    const newer = [...versions].filter(
      ([, major, minor]) => Number(major) * 1000 + Number(minor) > newestGlibc[0] * 1000 + newestGlibc[1],
    );
    expect([...new Set(newer.map(([name]) => name))]).toEqual([]);
  });

  test('needs no library beyond those of glibc', async () => {
    const needed = [...(await outputOf('readelf', '--dynamic', '--wide', stripped)).matchAll(/\(NEEDED\).*\[(.+)\]/g)];
    expect(needed.map(([, name]) => name).filter((name) => !allowedLibraries.test(name ?? ''))).toEqual([]);
  });
});
