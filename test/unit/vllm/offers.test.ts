import type { RegisteredBlocks } from 'dynamo-node';
import { shapeFor, shapeOf } from 'dynamo-node/vllm';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Offers } from '../../../lib/vllm/offers.js';
import { handshakeOf } from '../../helpers/vllm/handshake.js';

describe('Offers', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }));
  afterEach(() => void vi.useRealTimers());

  /** Blocks that count how often they were released. */
  function blocksOf(): { blocks: RegisteredBlocks; released: () => number } {
    let count = 0;
    return { blocks: { dispose: () => (count += 1) } as unknown as RegisteredBlocks, released: () => count };
  }

  const read = (requestId: string, readers = 1) => ({ kind: 'read', requestId, readers }) as const;

  it('release blocks once, when the last of several readers has notified', async () => {
    const offers = new Offers(1000);
    const { blocks, released } = blocksOf();
    const ended = offers.add('a', blocks);
    offers.notice(read('a', 2));
    offers.notice(read('b', 1));
    expect([released(), offers.size]).toEqual([0, 1]);
    offers.notice(read('a', 2));
    offers.notice(read('a', 2));
    offers.end('a', 'withdrawn');
    vi.advanceTimersByTime(5000);
    expect(await ended).toBe('read');
    expect([released(), offers.size]).toEqual([1, 0]);
    expect(offers.ends).toEqual({ read: 1, withdrawn: 0, expired: 0 });
  });

  it('end with their lease, which a heartbeat sets to two thirds from now, and never shortens', async () => {
    const offers = new Offers(900);
    const { blocks, released } = blocksOf();
    const ended = offers.add('a', blocks);
    offers.notice({ kind: 'heartbeat', requestIds: ['a', 'unknown'] });
    vi.advanceTimersByTime(800);
    offers.notice({ kind: 'heartbeat', requestIds: ['a'] });
    vi.advanceTimersByTime(599);
    expect(released()).toBe(0);
    vi.advanceTimersByTime(2);
    expect(await ended).toBe('expired');
    expect(released()).toBe(1);
  });

  it('end when they are closed', async () => {
    const offers = new Offers(900);
    const [one, two] = [blocksOf(), blocksOf()];
    const ends = [offers.add('a', one.blocks), offers.add('b', two.blocks)];
    offers.close();
    expect(await Promise.all(ends)).toEqual(['withdrawn', 'withdrawn']);
    expect([one.released(), two.released()]).toEqual([1, 1]);
  });
});

describe('shapes', () => {
  it('are those of the metadata', () => {
    expect(shapeOf(handshakeOf({ physical_blocks_per_logical_kv_block: 2 }))).toEqual({
      compatibilityHash: 'a'.repeat(64),
      attentionBackend: 'CPU_ATTN',
      cacheLayout: 'LBHNC',
      regions: 2,
      blockBytes: 16384,
      kernelBlockSize: 32,
      kernelBlocks: 2,
    });
  });

  it.each([
    ['regions of several sizes', 'vllm.layout', { block_lens: [16384, 8192] }],
    ['several KV cache groups', 'vllm.unsupported', { region_group_ids: [0, 1] }],
    ['layers with states', 'vllm.unsupported', { ssm_sizes: [16, 0] as [number, number] }],
  ])('of %s are rejected with %s', (_what, reason, changes) => {
    expect(() => shapeOf(handshakeOf(changes))).toThrow(expect.objectContaining({ reason }));
  });

  it('of a backend whose layout is not known are rejected with vllm.layout', () => {
    const compatibility = {
      vllmVersion: '0.32.0',
      model: 'm',
      dtype: 'torch.bfloat16',
      kvHeads: 8,
      headDim: 128,
      layers: 32,
      attentionBackend: 'FLASH_ATTN',
    };
    const options = { compatibility, blockSize: 16, elementType: 'bfloat16' } as const;
    expect(shapeFor(options)).toMatchObject({ regions: 32, blockBytes: 8 * 128 * 16 * 2 * 2 });
    const unknown = { ...options, compatibility: { ...compatibility, attentionBackend: 'OTHER' } };
    expect(() => shapeFor(unknown)).toThrow(expect.objectContaining({ reason: 'vllm.layout' }));
    expect(() => shapeFor({ ...options, elementType: 'int4' } as never)).toThrow(/elementType/);
  });
});
