import { join } from 'node:path';
import { beforeAll, describe, expect, it, type TestContext } from 'vitest';

import { Child, type ChildEvent } from '../../helpers/child.js';
import { buildNixlTests, nixlLibrary, type Ran, runRows } from '../../helpers/nixl/native-suite.js';
import { BUILD_MS, describeOnMock, expectAll, expectRows, STORE } from '../../helpers/nixl/on-mock.js';
import { execute } from '../../helpers/project.js';

const FUZZ_SECONDS = '10';

/** Each call that needs an optional feature, the feature, and a function that the call would use. */
const NEEDS = [
  ['blocks', 'preparedLists', 'nixl_capi_prep_xfer_dlist'],
  ['partial', 'partialMetadata', 'nixl_capi_get_local_partial_md'],
  ['sent', 'metadataExchange', 'nixl_capi_send_local_md'],
  ['sentPart', 'metadataExchange', 'nixl_capi_send_local_partial_md'],
  ['fetched', 'metadataExchange', 'nixl_capi_fetch_remote_md'],
  ['withdrawn', 'metadataExchange', 'nixl_capi_invalidate_local_md'],
  ['telemetry', 'telemetry', 'nixl_capi_get_xfer_telemetry'],
  ['estimate', 'cost', 'nixl_capi_estimate_xfer_cost'],
  ['query', 'queryMemory', 'nixl_capi_query_mem'],
  ['custom', 'customParam', 'nixl_capi_opt_args_set_custom_param'],
] as const;

describeOnMock('address,undefined');

describe('native/nixl', () => {
  let folder: string;

  beforeAll(async () => {
    folder = await buildNixlTests('address,undefined');
  }, BUILD_MS);

  it('survives damaged metadata and invalid descriptor lists', { timeout: BUILD_MS }, async () => {
    const { stdout } = await execute(join(folder, 'fuzz'), [FUZZ_SECONDS]);
    expect(Number(/(\d+) runs/.exec(stdout)?.[1])).toBeGreaterThan(1000);
  });

  it('defines no function of the library', async () => {
    const { stdout } = await execute('nm', ['--defined-only', join(folder, 'libbackend.a')], {
      maxBuffer: 64 * 1024 * 1024,
    });
    expect(stdout.split('\n').filter((line) => / [TtWDdBb] nixl_capi_/.test(line))).toEqual([]);
  });

  describe.each<[string, NodeJS.ProcessEnv]>([
    ['its own choice of transports', {}],
    ['TCP', { UCX_TLS: 'tcp' }],
  ])('the real library, with %s', (_transports, transports) => {
    // The library keeps memory for the life of the process.
    const env = { ...transports, ASAN_OPTIONS: 'detect_leaks=0' };
    let ran: Ran | undefined;

    beforeAll(async () => {
      if (nixlLibrary !== undefined) ran = await runRows(join(folder, 'matrix'), [nixlLibrary], env);
    }, BUILD_MS);

    const needed = (context: TestContext): Ran =>
      ran ?? context.skip('the wheel nixl-cu12 is not installed (npm run setup)');

    it('passes every row of the matrix', (context) => expectRows(needed(context), 230));

    it('passes the rows for transfers in flight', (context) =>
      expectAll(needed(context), 'rows for active transfers', context));

    it('passes the rows for a machine without a GPU', (context) =>
      expectAll(needed(context), 'rows for the absence of a GPU', context));

    it('passes the rows for direct I/O', (context) => expectAll(needed(context), 'row for direct', context));

    it('passes the rows for a store that does not exist', { timeout: BUILD_MS }, async (context) => {
      needed(context);
      expectRows(await runRows(join(folder, 'matrix'), [nixlLibrary as string, 'store'], { ...env, ...STORE }), 6);
    });
  });
});

/** The feature `core` has 74 functions. A library may have no others. */
describe('a library without optional features', () => {
  let result: ChildEvent & {
    ends: Record<string, { code: string; reason: string; message: string }>;
    features: Record<string, string[]>;
  };

  beforeAll(async () => {
    const library = join(await buildNixlTests('address,undefined'), 'bare.so');
    const child = Child.program('test/helpers/nixl/programs/bare.ts', [library]);
    try {
      result = (await child.event('done', {}, 60_000)) as typeof result;
    } finally {
      await child.stop();
    }
  }, BUILD_MS);

  it('is loaded, moves bytes and receives messages', () => {
    expect(result).toMatchObject({ kind: 'real', functions: 74, byte: 7, note: 'there', leaked: false });
    expect(result['metadata']).toBeGreaterThan(20);
  });

  it('reports the missing symbols of each feature', () => {
    expect(result.features['core']).toEqual([]);
    for (const [, feature, symbol] of NEEDS) expect(result.features[feature]).toContain(symbol);
    expect(result.features['memView']).toHaveLength(6);
    expect(result.features['detailedStatus']).toEqual(['_ZNK9nixlAgent13getXferStatusEP12nixlXferReqH']);
  });

  it.each(NEEDS)('rejects %s without the feature %s, and names %s', (call, feature, symbol) => {
    const end = result.ends[call];
    expect(end).toMatchObject({ code: 'DYN_NOT_IMPLEMENTED', reason: 'nixl.not_supported' });
    expect(end?.message).toContain(symbol);
    expect(end?.message).toContain((result.features[feature] as string[]).join(', '));
  });
});
