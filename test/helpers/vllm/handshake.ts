import type { VllmAgentMetadata, VllmHandshake } from 'dynamo-node/vllm';

/** Metadata like that of a worker on a CPU, with two layers. */
export function metadataOf(changes: Partial<VllmAgentMetadata> = {}): VllmAgentMetadata {
  return {
    engine_id: 'engine-1',
    agent_metadata: Buffer.from('agent'),
    kv_caches_base_addr: [0x7f12_3456_7890n, 0xffff_ffff_ffff_f000n],
    device_id: 0,
    num_blocks: 16,
    block_lens: [16384, 16384],
    block_strides: [16384, 16384],
    kv_cache_layout: 'LBHNC',
    block_size: 32,
    ssm_sizes: [0, 0],
    attn_backend_name: 'CPU_ATTN',
    physical_blocks_per_logical_kv_block: 1,
    ...changes,
  };
}

export const handshakeOf = (changes: Partial<VllmAgentMetadata> = {}): VllmHandshake => ({
  compatibilityHash: 'a'.repeat(64),
  metadata: metadataOf(changes),
});
