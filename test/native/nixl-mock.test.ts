import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';

import { buildNixlTests, nixlLibrary, runRows, type Sanitizers } from '../helpers/nixl-native.js';
import { execute } from '../helpers/project.js';

const BUILD_MS = 600_000;
const LIVES = { 'address,undefined': 2000, thread: 200 };
const AGENTS = { 'address,undefined': 200, thread: 50 };
const FUZZ_SECONDS = '10';

// The mock promises what NIXL was seen to do: both run the same rows, and a row that only one of them holds fails here.
describe.each(['address,undefined', 'thread'] as const)('native/nixl under -fsanitize=%s', (sanitizers: Sanitizers) => {
  let folder: string;

  beforeAll(async () => {
    folder = await buildNixlTests(sanitizers);
  }, BUILD_MS);

  test.each(['mock', 'mock:delayed', 'mock:at-once'])('%s behaves as the matrix says', { timeout: BUILD_MS }, async (mode) => {
    const { complaints, rows } = await runRows(join(folder, 'matrix'), [mode]);
    expect(complaints).toEqual([]);
    expect(rows).toBeGreaterThan(200);
  });

  test('the agent above it, from its making to its end', { timeout: BUILD_MS }, async () => {
    const { complaints, rows } = await runRows(join(folder, 'agent_test'), [String(AGENTS[sanitizers])]);
    expect(complaints).toEqual([]);
    expect(rows).toBeGreaterThan(15);
  });

  test('late copies, lost peers, failures on demand and fake GPUs', { timeout: BUILD_MS }, async () => {
    const args = [String(LIVES[sanitizers]), join(folder, 'stub.so'), join(folder, 'old.so')];
    const { complaints, rows } = await runRows(join(folder, 'mock_test'), args);
    expect(complaints).toEqual([]);
    expect(rows).toBeGreaterThan(60);
  });
});

describe('native/nixl', () => {
  let folder: string;

  beforeAll(async () => {
    folder = await buildNixlTests('address,undefined');
  }, BUILD_MS);

  test('reads damaged metadata and wild descriptor lists without harm', { timeout: BUILD_MS }, async () => {
    const { stdout } = await execute(join(folder, 'fuzz'), [FUZZ_SECONDS]);
    expect(Number(/(\d+) runs/.exec(stdout)?.[1])).toBeGreaterThan(1000);
  });

  test('defines no function of the library', async () => {
    const { stdout } = await execute('nm', ['--defined-only', join(folder, 'libbackend.a')], { maxBuffer: 64 * 1024 * 1024 });
    expect(stdout.split('\n').filter((line) => / [TtWDdBb] nixl_capi_/.test(line))).toEqual([]);
  });

  test.for<[string, NodeJS.ProcessEnv]>([
    ['its own choice of transports', {}],
    ['TCP', { UCX_TLS: 'tcp' }],
  ])('the real library behaves as the matrix says, with %s', { timeout: BUILD_MS }, async ([, env], context) => {
    if (nixlLibrary === undefined) return context.skip('the wheel nixl-cu12 is not installed (npm run setup)');
    // The library keeps memory for the life of the process.
    const { complaints, rows } = await runRows(join(folder, 'matrix'), [nixlLibrary], { ...env, ASAN_OPTIONS: 'detect_leaks=0' });
    expect(complaints).toEqual([]);
    expect(rows).toBeGreaterThan(200);
  });
});
