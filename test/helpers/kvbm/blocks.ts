import {
  BlockManager,
  type BlockManagerOptions,
  type NixlAgent,
  type RegisteredBlocks,
  TokenSequence,
} from 'dynamo-node';
import { onTestFinished } from 'vitest';
import { randomNumbers } from '../random.js';

export const blockSize = 4;
export const layout = { layers: 4, heads: 2, headDim: 32, elementType: 'float32' } as const;
export const BLOCK_BYTES = 4 * 2 * blockSize * 2 * 32 * 4;
export const LAYER_BYTES = BLOCK_BYTES / 4;

/** A manager of the host's memory, with checksums. */
export function hostManager(options: Partial<BlockManagerOptions> = {}): BlockManager {
  const manager = new BlockManager({
    tier: 'host',
    blockCount: 8,
    blockSize,
    layout,
    storage: { kind: 'memory', checksums: true },
    ...options,
  });
  onTestFinished(() => manager.dispose());
  return manager;
}

/** A manager of a GPU's memory, with checksums. */
export async function deviceManager(
  agent: NixlAgent,
  options: Partial<BlockManagerOptions> = {},
): Promise<BlockManager> {
  const blockCount = options.blockCount ?? 8;
  const region = await agent.allocate(blockCount * BLOCK_BYTES, { memory: 'VRAM' });
  return hostManager({ tier: 'device', blockCount, storage: { kind: 'region', region, checksums: true }, ...options });
}

/** A manager of a file that the agent reads and writes, with checksums. */
export async function fileManager(
  agent: NixlAgent,
  path: string,
  options: Partial<BlockManagerOptions> = {},
): Promise<BlockManager> {
  const blockCount = options.blockCount ?? 8;
  const region = await agent.register({ path, bytes: blockCount * BLOCK_BYTES, access: 'write', create: true });
  return hostManager({ tier: 'disk', blockCount, storage: { kind: 'region', region, checksums: true }, ...options });
}

export function sequenceOf(blocks: number, seed = 0): TokenSequence {
  const sequence = new TokenSequence(
    Uint32Array.from({ length: blocks * blockSize }, (_, index) => seed * 1000 + index),
    { blockSize },
  );
  onTestFinished(() => sequence.dispose());
  return sequence;
}

/** A block's bytes are made of its name, so that bytes of another block cannot pass. */
export function fill(sequence: TokenSequence, index: number): Uint8Array {
  const random = randomNumbers(Number(sequence.lineageHashes(index, 1).at(0) & 0xffff_ffffn));
  return Uint8Array.from({ length: BLOCK_BYTES }, () => random() * 256);
}

/** Stores a sequence's blocks from `first` on. */
export async function store(manager: BlockManager, sequence: TokenSequence, first = 0): Promise<RegisteredBlocks> {
  const blocks = manager.allocateOrThrow(sequence.blockCount - first);
  for (let index = 0; index < blocks.length; index++) await blocks.write(index, fill(sequence, first + index));
  return blocks.stage(sequence, first).register();
}

/** Whether each block holds what its name says. */
export async function areRight(blocks: RegisteredBlocks, sequence: TokenSequence, first = 0): Promise<boolean[]> {
  const all = Array.from(
    { length: blocks.length },
    async (_, index) => Buffer.compare(await blocks.read(index), fill(sequence, first + index)) === 0,
  );
  return Promise.all(all);
}
