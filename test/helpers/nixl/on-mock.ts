import { join } from 'node:path';
import { beforeAll, describe, expect, it, type TestContext } from 'vitest';

import { buildNixlTests, type Ran, runRows, type Sanitizers } from './native-suite.js';

export const BUILD_MS = 600_000;
/** A port on which nothing listens. */
export const STORE = { NIXL_ETCD_ENDPOINTS: 'http://127.0.0.1:1' };
const LIVES: Record<Sanitizers, number> = { 'address,undefined': 2000, thread: 200 };
const AGENTS: Record<Sanitizers, number> = { 'address,undefined': 200, thread: 50 };

export function expectRows({ complaints, rows }: Ran, min: number): void {
  expect(complaints).toEqual([]);
  expect(rows).toBeGreaterThan(min);
}

/** Skips the test with the reason if the program left rows out, unless they are required. */
export function expectAll({ notes }: Ran, about: string, context: TestContext, always = false): void {
  const left = notes.filter((note) => note.startsWith(`no ${about}`));
  if (left.length > 0 && !always) context.skip(left.join('; '));
  expect(left).toEqual([]);
}

/** The tests of native/nixl on its mock, built with sanitizers. NIXL must pass the same rows of the matrix. */
export function describeOnMock(sanitizers: Sanitizers): void {
  describe(`native/nixl under -fsanitize=${sanitizers}`, () => {
    let folder: string;

    beforeAll(async () => {
      folder = await buildNixlTests(sanitizers);
    }, BUILD_MS);

    describe.each(['mock', 'mock:delayed', 'mock:immediate'])('%s', (mode) => {
      let ran: Ran;

      beforeAll(async () => {
        ran = await runRows(join(folder, 'matrix'), [mode]);
      }, BUILD_MS);

      it('passes every row of the matrix', () => expectRows(ran, 230));

      it('passes the rows for transfers in flight', (context) =>
        expectAll(ran, 'rows for active transfers', context, mode !== 'mock:immediate'));

      it('passes the rows for a store that does not exist', { timeout: BUILD_MS }, async () =>
        expectRows(await runRows(join(folder, 'matrix'), [mode, 'store'], STORE), 6),
      );
    });

    it('passes the tests of the agent: every entry of the binding, with success and failure', {
      timeout: BUILD_MS,
    }, async () => {
      expectRows(await runRows(join(folder, 'agent_test'), [String(AGENTS[sanitizers])]), 170);
    });

    it('learns which posts are short', async () => {
      expectRows(await runRows(join(folder, 'costs_test'), []), 20);
    });

    it('passes the tests of late copies, lost peers, failures on demand and simulated GPUs', {
      timeout: BUILD_MS,
    }, async () => {
      expectRows(
        await runRows(join(folder, 'mock_test'), [
          String(LIVES[sanitizers]),
          join(folder, 'stub.so'),
          join(folder, 'old.so'),
        ]),
        60,
      );
    });
  });
}
