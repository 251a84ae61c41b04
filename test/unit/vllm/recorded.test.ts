import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { askSideChannel, shapeFor, shapeOf } from 'dynamo-node/vllm';
import { expect, it, onTestFinished } from 'vitest';

/** What vLLM 0.32.0 sent after `get_meta_msg` for rank 0, with zeros in the place of the NIXL agent's addresses. */
const RECORDED = Buffer.from(
  readFileSync(new URL('../../fixtures/vllm/side-channel-0.32.0.hex', import.meta.url), 'utf8').replace(/\s/g, ''),
  'hex',
);
const GREETING_BYTES = 64;

it('reads the recorded frames of a side channel of vLLM 0.32.0', async () => {
  const server = createServer((socket) => {
    // As libzmq: the signature first, and the rest when the other side has answered.
    socket.write(RECORDED.subarray(0, 10));
    let bytes = 0;
    socket.on('data', (data) => {
      const before = bytes;
      bytes += data.length;
      if (before < GREETING_BYTES && bytes >= GREETING_BYTES) socket.write(RECORDED.subarray(10));
    });
    socket.on('error', () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  const { port } = server.address() as { port: number };
  const answer = await askSideChannel({ host: '127.0.0.1', port });
  expect(answer.metadata).toMatchObject({
    device_id: 0,
    block_lens: [16384, 16384, 16384, 16384],
    block_strides: [16384, 16384, 16384, 16384],
    kv_cache_layout: 'LBHNC',
    block_size: 32,
    ssm_sizes: [0, 0],
    attn_backend_name: 'CPU_ATTN',
    physical_blocks_per_logical_kv_block: 1,
    region_mem_types: ['DRAM', 'DRAM', 'DRAM', 'DRAM'],
  });
  expect(answer.metadata.kv_caches_base_addr).toHaveLength(4);
  expect(answer.metadata.kv_caches_base_addr.every((address) => address > 2n ** 32n)).toBe(true);
  expect(answer.compatibilityHash).toMatch(/^[0-9a-f]{64}$/);
  const shape = shapeFor({
    compatibility: {
      vllmVersion: '0.32.0',
      model: 'tiny',
      dtype: 'torch.float32',
      kvHeads: 2,
      headDim: 32,
      layers: 4,
      attentionBackend: 'CPU_ATTN',
    },
    blockSize: 32,
    elementType: 'float32',
  });
  expect({ ...shapeOf(answer), compatibilityHash: '' }).toEqual({ ...shape, compatibilityHash: '' });
});
