import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import { runRows, type Sanitizers } from '../nixl/native-suite.js';
import { execute, root } from '../project.js';

const BUILD_MS = 600_000;
const [THREADS, LIVES] = ['8', '300'];
const OPERATIONS: Record<Sanitizers, string> = { 'address,undefined': '100000', thread: '20000' };

const includes = ['native/core/include', 'node_modules/node-api-headers/include', 'node_modules/node-addon-api'];
const sources = ['native/binding/mailbox.cc', 'native/binding/test/mailbox_test.cc'];

/** Builds the test program of the mailbox, which has its own Node-API. Returns its file. */
async function build(sanitizers: Sanitizers): Promise<string> {
  const folder = join(root, 'build/binding');
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `mailbox-${sanitizers.replace(',', '-')}`);
  const flags = ['-std=c++20', '-O1', '-g1', '-Wall', '-Wextra', `-fsanitize=${sanitizers}`];
  if (sanitizers !== 'thread') flags.push('-fno-sanitize-recover=undefined');
  const defines = ['NAPI_VERSION=8', 'NAPI_CPP_EXCEPTIONS', 'NODE_ADDON_API_DISABLE_DEPRECATED'];
  await execute('g++', [
    ...flags,
    ...defines.map((name) => `-D${name}`),
    ...includes.map((path) => `-isystem${join(root, path)}`),
    ...sources.map((path) => join(root, path)),
    '-pthread',
    // Functions of Node-API that only its errors call.
    '-fno-plt',
    '-Wl,--unresolved-symbols=ignore-all',
    '-o',
    file,
  ]);
  return file;
}

export function describeMailbox(sanitizers: Sanitizers): void {
  describe(`the mailbox under -fsanitize=${sanitizers}`, () => {
    it('delivers each completion once, and frees those of an environment that ends', {
      timeout: BUILD_MS,
    }, async () => {
      const program = await build(sanitizers);
      expect(await runRows(program, [THREADS, OPERATIONS[sanitizers], String(LIVES)])).toEqual({
        complaints: [],
        rows: 2,
        notes: [],
      });
    });
  });
}
