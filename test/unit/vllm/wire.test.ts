import {
  compatibilityHash,
  decodeHandshake,
  decodeKvEvents,
  decodeMetadata,
  encodeHandshake,
  encodeMetadata,
  VLLM_VERSIONS,
  type VllmAgentMetadata,
} from 'dynamo-node/vllm';
import { describe, expect, it } from 'vitest';
import { pack, unpack } from '../../../lib/addon/codec.js';
import { heartbeatOf, noticeFrom, readNoticeOf } from '../../../lib/vllm/notices.js';
import { handshakeOf, metadataOf } from '../../helpers/vllm/handshake.js';

describe('metadata', () => {
  it('keeps addresses of 64 bits exact, and writes no number above 2^32 as a float', () => {
    const metadata = metadataOf({
      kv_caches_base_addr: [2n ** 53n + 1n, 2n ** 64n - 1n, 2n ** 33n, 5n],
      block_lens: [1, 1, 1, 1],
      block_strides: [2 ** 40, 1, 1, 1],
    });
    const bytes = Buffer.from(encodeMetadata(metadata));
    expect(decodeMetadata(bytes)).toEqual(metadata);
    expect(bytes.includes(0xcb)).toBe(false);
  });

  it('keeps fields that it does not know', () => {
    const metadata = metadataOf({ later_field: { a: [1, 2] }, region_names: ['a', 'b'], region_num_blocks: null });
    expect(decodeMetadata(encodeMetadata(metadata))).toEqual(metadata);
  });

  it.each<[string, Partial<Record<string, unknown>>]>([
    ['metadata.engine_id', { engine_id: 7 }],
    ['metadata.agent_metadata', { agent_metadata: 'text' }],
    ['metadata.kv_caches_base_addr.length', { kv_caches_base_addr: [] }],
    ['metadata.kv_caches_base_addr[1]', { kv_caches_base_addr: [1n, 0.5] }],
    ['metadata.kv_caches_base_addr[0]', { kv_caches_base_addr: [-1n, 1n] }],
    ['metadata.num_blocks', { num_blocks: 0 }],
    ['metadata.block_size', { block_size: null }],
    ['metadata.block_lens.length', { block_lens: [1] }],
    ['metadata.block_strides[1]', { block_strides: [1, 0.5] }],
    ['metadata.region_mem_types.length', { region_mem_types: ['DRAM'] }],
    ['metadata.physical_blocks_per_logical_kv_block', { physical_blocks_per_logical_kv_block: 0 }],
  ])('rejects %s of another kind with vllm.protocol, which names it', (field, changes) => {
    const bytes = pack({ ...metadataOf(), ...changes });
    expect(() => decodeMetadata(bytes)).toThrow(
      expect.objectContaining({ reason: 'vllm.protocol', class: 'BackendProtocol' }),
    );
    expect(() => decodeMetadata(bytes)).toThrow(`${field}: expected`);
  });

  it('rejects bytes that are cut off with vllm.protocol', () => {
    const bytes = encodeMetadata(metadataOf());
    for (let length = 0; length < bytes.length; length++)
      expect(() => decodeMetadata(bytes.subarray(0, length))).toThrow(
        expect.objectContaining({ reason: 'vllm.protocol' }),
      );
  });

  it('is inside the handshake as bytes', () => {
    const encoded = encodeHandshake(handshakeOf());
    expect(decodeHandshake(encoded)).toEqual(handshakeOf());
    const { agent_metadata_bytes: inner, ...others } = unpack(encoded) as Record<string, Uint8Array>;
    expect(others).toEqual({ compatibility_hash: 'a'.repeat(64) });
    expect(decodeMetadata(inner as Uint8Array)).toEqual(metadataOf() satisfies VllmAgentMetadata);
  });
});

describe('compatibilityHash', () => {
  const options = {
    vllmVersion: '0.32.0',
    model: 'tiny',
    dtype: 'torch.float32',
    kvHeads: 2,
    headDim: 32,
    layers: 4,
    attentionBackend: 'CPU_ATTN',
  };

  // Computed with hashlib.sha256(json.dumps(factors, sort_keys=True).encode()) of Python.
  it.each([
    [options, 'f5d48de7ecb3ef391da36a27cde53d47c7c32efd8f44ef86a6cfa9d8c6dde560'],
    [
      {
        ...options,
        vllmVersion: '0.31.0',
        model: '/models/žluť\x7f "q" 🐎',
        hybridAllocator: false,
        cacheDtype: 'fp8',
        transferMode: 'push' as const,
      },
      '5558f307be714148e1b79f6bed5944d1046a0a36a79f13b43d7ce0c00de8e6f3',
    ],
  ])('returns what Python computes', (factors, hash) => {
    expect(compatibilityHash(factors)).toBe(hash);
  });

  it('rejects a version whose factors are not known', () => {
    expect(VLLM_VERSIONS).toEqual(['0.31.0', '0.32.0']);
    expect(() => compatibilityHash({ ...options, vllmVersion: '0.30.0' })).toThrow(
      /vllmVersion: expected one of 0.31.0/,
    );
    expect(() => compatibilityHash({ ...options, layers: 0 })).toThrow(RangeError);
  });
});

describe('decodeKvEvents', () => {
  const stored = {
    type: 'BlockStored',
    block_hashes: [2n ** 63n + 5n, 7],
    parent_block_hash: 3,
    token_ids: [1, 2, 3, 4],
    block_size: 2,
    extra_keys: null,
  };
  const batch = (...events: unknown[]): Uint8Array => pack([1.5, events, 0]);

  it('returns hashes of 64 bits, also from whole hashes', () => {
    const whole = Buffer.concat([Buffer.alloc(24, 1), Buffer.from('ff00000000000001', 'hex')]);
    expect(decodeKvEvents(batch(stored, { type: 'BlockRemoved', block_hashes: [whole] }))).toEqual([
      {
        kind: 'stored',
        blockHashes: [2n ** 63n + 5n, 7n],
        parentHash: 3n,
        tokens: [1, 2, 3, 4],
        blockSize: 2,
        extraKeys: [],
      },
      { kind: 'removed', blockHashes: [0xff00_0000_0000_0001n] },
    ]);
  });

  it('skips events of kinds that it does not know', () => {
    expect(decodeKvEvents(batch({ type: 'Later' }, null, { type: 'AllBlocksCleared' }))).toEqual([{ kind: 'cleared' }]);
  });

  it.each([
    ['no array', pack({})],
    ['no events', pack([1.5, 7])],
    ['a hash that is text', batch({ ...stored, block_hashes: ['a', 'b'] })],
    ['too few tokens', batch({ ...stored, token_ids: [1, 2, 3] })],
    ['a negative token', batch({ ...stored, token_ids: [1, 2, 3, -4] })],
    ['no MessagePack', Buffer.of(0xc1)],
  ])('rejects %s with vllm.protocol', (_what, payload) => {
    expect(() => decodeKvEvents(payload)).toThrow(expect.objectContaining({ reason: 'vllm.protocol' }));
  });
});

describe('notices', () => {
  it('are read as they are written', () => {
    expect(noticeFrom(Buffer.from(readNoticeOf('cmpl-1:a', 2)))).toEqual({
      kind: 'read',
      requestId: 'cmpl-1:a',
      readers: 2,
    });
    expect(noticeFrom(Buffer.from(heartbeatOf(['a', 'b'])))).toEqual({ kind: 'heartbeat', requestIds: ['a', 'b'] });
  });

  it.each(['', 'id', ':1', 'id:', 'id:0', 'id:1.5', 'id:x', 'id:100000'])('returns undefined for %j', (text) => {
    expect(noticeFrom(Buffer.from(text))).toBeUndefined();
  });
});
