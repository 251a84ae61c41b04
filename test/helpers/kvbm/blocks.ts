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

/** A manager of blocks that have names and no bytes. */
export function namesManager(options: Partial<BlockManagerOptions> = {}): BlockManager {
  const manager = new BlockManager({ tier: 'host', blockCount: 8, blockSize, ...options });
  onTestFinished(() => manager.dispose());
  return manager;
}

/** A manager of host memory, with checksums. */
export function hostManager(options: Partial<BlockManagerOptions> = {}): BlockManager {
  return namesManager({ layout, storage: { kind: 'memory', checksums: true }, ...options });
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

function sequence(tokens: Uint32Array): TokenSequence {
  const made = new TokenSequence(tokens, { blockSize });
  onTestFinished(() => made.dispose());
  return made;
}

/** A sequence of `blocks` blocks. Two sequences of one seed share their first blocks. */
export function sequenceOf(blocks: number, seed = 0): TokenSequence {
  return sequence(Uint32Array.from({ length: blocks * blockSize }, (_, index) => seed * 1000 + index));
}

/** A sequence with one block for each token, which repeats it. */
export function repeatedSequence(tokens: readonly number[]): TokenSequence {
  return sequence(Uint32Array.from(tokens.flatMap((token) => Array<number>(blockSize).fill(token))));
}

/** The bytes of a block, made from its name, so that the bytes of another block are detected. */
export function fill(sequence: TokenSequence, index: number, bytes = BLOCK_BYTES): Uint8Array {
  const random = randomNumbers(Number(sequence.lineageHashes(index, 1).at(0) & 0xffff_ffffn));
  return Uint8Array.from({ length: bytes }, () => random() * 256);
}

/** Registers a sequence's blocks from `first` on, with the bytes of `fill`. */
export async function store(manager: BlockManager, sequence: TokenSequence, first = 0): Promise<RegisteredBlocks> {
  const blocks = manager.allocateOrThrow(sequence.blockCount - first);
  for (let index = 0; index < blocks.length; index++)
    await blocks.write(index, fill(sequence, first + index, manager.blockBytes));
  return blocks.stage(sequence, first).register();
}

/** Registers a sequence's blocks from `first` on, without bytes. */
export function storeNames(manager: BlockManager, sequence: TokenSequence, first = 0): RegisteredBlocks {
  return manager
    .allocateOrThrow(sequence.blockCount - first)
    .stage(sequence, first)
    .register();
}

/** For each block whether it has the bytes of `fill`. */
export async function areRight(blocks: RegisteredBlocks, sequence: TokenSequence, first = 0): Promise<boolean[]> {
  const all = Array.from({ length: blocks.length }, async (_, index) => {
    const bytes = await blocks.read(index);
    return Buffer.compare(bytes, fill(sequence, first + index, bytes.length)) === 0;
  });
  return Promise.all(all);
}
