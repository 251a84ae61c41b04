/** A thread that copies its parent's blocks to a file of its own agent repeatedly until it is terminated. */
import { parentPort, workerData } from 'node:worker_threads';

import {
  type BlockLayout,
  BlockManager,
  loadNixl,
  NixlAgent,
  type RegisteredBlocks,
  TokenSequence,
} from '../../../../lib/index.js';

const { token, kind, path, blocks } = workerData as {
  token: number;
  kind: 'mock' | 'ucx';
  path: string;
  blocks: number;
};
const host = BlockManager.attach(token);
const { blockSize } = host;
const agent = await NixlAgent.create(`copying-${process.pid}-${Date.now()}`, {
  library: loadNixl({ mode: kind === 'mock' ? 'mock' : 'real' }),
  backends: { POSIX: {} },
});
const region = await agent.register({ path, bytes: blocks * host.blockBytes, access: 'write', create: true });
const disk = new BlockManager({
  tier: 'disk',
  blockCount: blocks,
  blockSize,
  layout: host.layout as BlockLayout,
  storage: { kind: 'region', region, checksums: true },
});
const sequence = new TokenSequence(
  Uint32Array.from({ length: blocks * blockSize }, (_, index) => index),
  { blockSize },
);
const stored = host.matchPrefix(sequence) as RegisteredBlocks;
for (let round = 0; ; round++) {
  const below = disk.allocateOrThrow(blocks);
  const copying = disk.copy(stored, below);
  if (round === 2) parentPort?.postMessage('copying');
  await copying;
  below.dispose();
}
