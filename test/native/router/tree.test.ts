import {
  ClosedError,
  computeBlockHashes,
  computeSequenceHashes,
  type IndexerKind,
  KV_ROUTER_DEFAULTS,
  KvIndexer,
  RadixTree,
  type RouterEvent,
} from 'dynamo-node';
import { describe, expect, it } from 'vitest';
import { unpack } from '../../../lib/addon/codec.js';
import { invokeSync, native } from '../../../lib/addon/invoke.js';

const tokens = Uint32Array.from({ length: 64 }, (_, index) => index);
const hashes = computeBlockHashes(tokens, 4);

function stored(workerId: bigint, from: number, to: number, more: Partial<RouterEvent> = {}): RouterEvent {
  const names = computeSequenceHashes(hashes);
  const parentHash = from === 0 ? null : (names[from - 1] as bigint);
  const run = {
    blockHashes: names.subarray(from, to),
    tokensHashes: hashes.subarray(from, to),
    parentHash,
    startPosition: from,
  };
  return { kind: 'stored', workerId, ...run, ...more } as RouterEvent;
}

const removed = (workerId: bigint, from: number, to: number): RouterEvent => ({
  kind: 'removed',
  workerId,
  blockHashes: computeSequenceHashes(hashes).subarray(from, to),
});

const rows = (scores: Iterable<{ workerId: bigint; dpRank: number; score: number }>): string[] =>
  [...scores].map(({ workerId, dpRank, score }) => `${workerId}/${dpRank}=${score}`).sort();

describe('RadixTree', () => {
  it('returns how many blocks of a prompt each worker has', () => {
    using tree = new RadixTree();
    expect(tree.apply([stored(1n, 0, 4), stored(1n, 4, 8), stored(2n ** 64n - 1n, 0, 2, { dpRank: 3 })])).toBe(0);
    expect(rows(tree.findMatches(hashes))).toEqual(['1/0=8', `${2n ** 64n - 1n}/3=2`]);
    expect(tree.findMatches(hashes).get(1n)).toBe(8);
    expect(tree.findMatches(hashes).get(9n)).toBe(0);
    expect(tree.findMatches(computeBlockHashes([5, 5, 5, 5], 4))).toHaveLength(0);
    expect(tree.size).toBe(10);
    expect(tree.workerIds).toEqual([1n, 2n ** 64n - 1n]);
  });

  it('drops removed and cleared blocks, and those of removed workers', () => {
    using tree = new RadixTree();
    tree.apply([stored(1n, 0, 8), stored(2n, 0, 8), stored(3n, 0, 8, { dpRank: 1 }), stored(3n, 0, 8)]);
    tree.apply([removed(1n, 6, 8), { kind: 'cleared', workerId: 2n }]);
    tree.removeWorker(3n, 1);
    expect(rows(tree.findMatches(hashes))).toEqual(['1/0=6', '3/0=8']);
    tree.removeWorker(3n);
    expect(rows(tree.findMatches(hashes))).toEqual(['1/0=6']);
  });

  it('counts rejected events', () => {
    using tree = new RadixTree();
    expect(tree.apply([stored(1n, 4, 8), stored(1n, 0, 4)])).toBe(1);
    expect(tree.findMatches(hashes).get(1n)).toBe(4);
  });

  it('is rebuilt from its dump', () => {
    using tree = new RadixTree();
    tree.apply([stored(1n, 0, 8), stored(2n, 0, 4), stored(2n, 4, 6, { dpRank: 0 })]);
    using copy = new RadixTree();
    expect(copy.apply(tree.dump())).toBe(0);
    expect(rows(copy.findMatches(hashes))).toEqual(rows(tree.findMatches(hashes)));
    expect(copy.size).toBe(tree.size);
  });

  it('stops early, if requested, at a fork after the blocks of one worker', () => {
    using tree = new RadixTree();
    const other = computeBlockHashes(
      tokens.map((id, at) => (at < 16 ? id : id + 1000)),
      4,
    );
    const fork = { tokensHashes: other.subarray(4), blockHashes: computeSequenceHashes(other).subarray(4) };
    const early = () => rows(tree.findMatches(hashes, { earlyExit: true }));
    // Without a fork its score is exact.
    tree.apply([stored(1n, 0, 2), stored(1n, 2, 16), stored(2n, 0, 2)]);
    expect(early()).toEqual(['1/0=16', '2/0=2']);
    tree.apply([stored(1n, 4, 16, fork as never)]);
    expect(early()).toEqual(['1/0=4', '2/0=2']);
    expect(rows(tree.findMatches(hashes))).toEqual(['1/0=16', '2/0=2']);
    // It continues after the fork while two workers have the beginning.
    tree.apply([stored(2n, 2, 6)]);
    expect(early()).toEqual(['1/0=16', '2/0=6']);
  });

  it('throws ClosedError after dispose', () => {
    const tree = new RadixTree();
    tree.dispose();
    tree.dispose();
    expect(() => tree.findMatches(hashes)).toThrow(ClosedError);
    expect(() => tree.apply([])).toThrow(ClosedError);
    expect(() => tree.size).toThrow(ClosedError);
  });
});

describe.each<IndexerKind>(['radix', 'concurrent', 'positional'])('an indexer of kind %s', (kind) => {
  it('returns the blocks of each worker, and drops removed ones', async () => {
    await using index = new KvIndexer({ blockSize: 4, kind, threads: 2, jumpSize: 4 });
    await index.apply([stored(1n, 0, 4), stored(1n, 4, 8), stored(2n, 0, 2, { dpRank: 3 }), stored(3n, 0, 16)]);
    expect(rows(await index.findMatches(hashes))).toEqual(['1/0=8', '2/3=2', '3/0=16']);
    expect(rows(await index.findMatchesForTokens(tokens.subarray(0, 12)))).toEqual(['1/0=3', '2/3=2', '3/0=3']);
    await index.apply([removed(1n, 6, 8)]);
    await index.removeWorker(3n);
    expect(rows(await index.findMatches(hashes))).toEqual(['1/0=6', '2/3=2']);
    await index.removeWorker(2n, 3);
    expect(rows(await index.findMatches(hashes))).toEqual(['1/0=6']);
  });

  it('counts blocks after a gap as docs/routing.md says', async () => {
    await using index = new KvIndexer({ blockSize: 4, kind, jumpSize: 4 });
    const count = async (event: RouterEvent): Promise<number> => {
      await index.apply([event]);
      return (await index.findMatches(hashes)).get(1n);
    };
    const looksAhead = kind === 'positional';
    expect(await count(stored(1n, 0, 8))).toBe(8);
    expect(await count(removed(1n, 2, 3))).toBe(looksAhead ? 8 : 2);
    expect(await count(stored(1n, 2, 3))).toBe(looksAhead ? 8 : 3);
    expect(await count(stored(1n, 2, 8))).toBe(8);
  });

  it('is rebuilt from its dump', async () => {
    await using index = new KvIndexer({ blockSize: 4, kind });
    await index.apply([stored(1n, 0, 8), stored(2n, 0, 4), stored(2n, 4, 6)]);
    await using copy = new KvIndexer({ blockSize: 4, kind });
    await copy.apply(await index.dump());
    expect(rows(await copy.findMatches(hashes))).toEqual(['1/0=8', '2/0=6']);
  });

  it('matches synchronously, or rejects that for kind radix', async () => {
    await using index = new KvIndexer({ blockSize: 4, kind });
    await index.apply([stored(1n, 0, 8)]);
    if (kind === 'radix')
      expect(() => index.findMatchesSync(hashes)).toThrow(expect.objectContaining({ code: 'DYN_NOT_IMPLEMENTED' }));
    else expect(rows(index.findMatchesSync(hashes))).toEqual(['1/0=8']);
  });

  it('rejects calls after close with ClosedError', async () => {
    const index = new KvIndexer({ blockSize: 4, kind });
    const handle = index.findMatches(hashes);
    await handle;
    await Promise.all([index.close(), index.close()]);
    await expect(index.findMatches(hashes)).rejects.toBeInstanceOf(ClosedError);
    await expect(index.apply([])).rejects.toBeInstanceOf(ClosedError);
  });
});

describe('an approximate indexer', () => {
  it('keeps routed blocks until they expire', async () => {
    await using index = new KvIndexer({ blockSize: 4, kind: 'approximate', ttlMs: 300 });
    await index.routed(7n, hashes.subarray(0, 5), 1);
    const { waitFor } = await import('../../helpers/wait.js');
    await waitFor(
      'the routed blocks',
      async () => rows(await index.findMatches(hashes)),
      (all) => all[0] === '7/1=5',
    );
    await waitFor(
      'no routed blocks',
      async () => rows(await index.findMatches(hashes)),
      (all) => all.length === 0,
    );
  });
});

describe('the options of an indexer', () => {
  it('are checked', () => {
    expect(() => new KvIndexer({ blockSize: 0 })).toThrow(/KvIndexer options\.blockSize/);
    expect(() => new KvIndexer({ blockSize: 4, kind: 'flat' as never })).toThrow(/options\.kind/);
  });
});

describe('KV_ROUTER_DEFAULTS', () => {
  it('contains the defaults of the crates', () => {
    const crates = unpack(invokeSync(native.routerDefaults, 'test')) as object;
    for (const [name, value] of Object.entries(crates))
      expect({ [name]: KV_ROUTER_DEFAULTS[name as never] }).toEqual({ [name]: value });
    const silent = Object.entries(KV_ROUTER_DEFAULTS).filter(([name]) => !(name in crates));
    // The crates omit these from a card, always or if they have the default value.
    expect(silent.map(([name]) => name).sort()).toEqual([
      'conditional_disagg_decode_busy_threshold',
      'conditional_disagg_eff_isl_ratio_threshold',
      'conditional_disagg_eff_isl_threshold',
      'conditional_disagg_enabled',
      'conditional_disagg_policy',
      'conditional_disagg_prefill_busy_threshold',
      'decode_active_request_weight',
      'enable_session_prefix_index',
      'router_approximate_cache_policy',
      'router_decode_policy',
      'router_prefill_policy',
      'router_tracking_hash',
      'router_tracking_key_file',
      'router_tracking_key_id',
      'shared_cache_multiplier',
    ]);
  });
});
