import { randomUUID } from 'node:crypto';
import { custom, integer, nested, type OptionTable, oneOf, optionTable, text } from '../options.js';
import { COMPATIBILITY_OPTIONS, compatibilityHash, type VllmCompatibility } from './compatibility.js';
import { VllmError } from './errors.js';
import { elementsOf, layoutOf, type VllmBlockLayout } from './layouts.js';
import type { VllmAgentMetadata, VllmHandshake } from './metadata.js';

/** The blocks that workers exchange: their sizes, and the hash that the workers compare. */
export interface VllmStoreShape {
  readonly compatibilityHash: string;
  /** `attn_backend_name` of the workers. A reader with another one repacks the blocks of all its peers. */
  readonly attentionBackend: string;
  /** Such as `LBHNC`. */
  readonly cacheLayout: string;
  /** Regions of a worker: its layers. */
  readonly regions: number;
  /** Bytes of a kernel block in one region. */
  readonly blockBytes: number;
  /** Tokens in a kernel block. */
  readonly kernelBlockSize: number;
  /** Kernel blocks in a logical block. */
  readonly kernelBlocks: number;
}

/** @internal */
export const SHAPE_OPTIONS: OptionTable<VllmStoreShape> = optionTable<VllmStoreShape>({
  compatibilityHash: text.about('The hash that workers compare.').required(),
  attentionBackend: text.about('The attention backend of the workers.').required(),
  cacheLayout: text.about('The order of the axes of the KV cache.').required(),
  regions: integer(1, 4096).about('Regions of a worker: its layers.').required(),
  blockBytes: integer(1, 2 ** 31 - 1)
    .about('Bytes of a kernel block in one region.')
    .required(),
  kernelBlockSize: integer(1, 1024).about('Tokens in a kernel block.').required(),
  kernelBlocks: integer(1, 1024).about('Kernel blocks in a logical block.').required(),
});

/**
 * The shape of a worker's blocks, as its side channel describes them. This needs no knowledge of vLLM's version.
 *
 * @throws VllmError `vllm.layout` if its regions differ, `vllm.unsupported` if it has several groups or SSM layers
 *
 * @example
 * import { askSideChannel, shapeOf } from 'dynamo-node/vllm';
 *
 * const shape = shapeOf(await askSideChannel({ host: '127.0.0.1', port: 5600 }));
 */
export function shapeOf({ compatibilityHash, metadata }: VllmHandshake): VllmStoreShape {
  const { block_lens: lengths, region_group_ids: groups, ssm_sizes: states } = metadata;
  const [blockBytes] = lengths as [number, ...number[]];
  if (lengths.some((bytes) => bytes !== blockBytes))
    throw new VllmError('vllm.layout', 'expected regions with blocks of one size, got several sizes');
  if ((groups ?? []).some((group) => group !== 0) || (states ?? []).some((size) => size !== 0))
    throw new VllmError('vllm.unsupported', 'expected one KV cache group with attention only, got others');
  return {
    compatibilityHash,
    attentionBackend: metadata.attn_backend_name,
    cacheLayout: metadata.kv_cache_layout,
    regions: lengths.length,
    blockBytes,
    kernelBlockSize: metadata.block_size,
    kernelBlocks: metadata.physical_blocks_per_logical_kv_block,
  };
}

const BYTES = { float32: 4, float16: 2, bfloat16: 2 } as const;

/** What {@link shapeFor} needs besides the factors of the hash. */
export interface ShapeForOptions {
  readonly compatibility: VllmCompatibility;
  /** Tokens in a block. */
  readonly blockSize: number;
  /** The type of the KV cache. */
  readonly elementType: keyof typeof BYTES;
  /** @default 'LBHNC' */
  readonly cacheLayout?: string;
  /** A layout that this package does not know. */
  readonly layout?: VllmBlockLayout;
}

const SHAPE_FOR_OPTIONS: OptionTable<ShapeForOptions> = optionTable<ShapeForOptions>({
  compatibility: nested(COMPATIBILITY_OPTIONS).about('The factors of the compatibility hash.').required(),
  blockSize: integer(1, 1024).about('Tokens in a block.').required(),
  elementType: oneOf('float32', 'float16', 'bfloat16').about('The type of the KV cache.').required(),
  cacheLayout: text.about('The order of the axes of the KV cache.'),
  layout: custom<VllmBlockLayout>('a layout', () => {}).about('A layout that this package does not know.'),
});

/**
 * The shape of the blocks of a worker that is not there yet: one with tensor parallelism 1 of a version in
 * `VLLM_VERSIONS`.
 *
 * @throws TypeError, RangeError
 * @throws VllmError `vllm.layout` if the layout of the backend is not known
 */
export function shapeFor(options: ShapeForOptions): VllmStoreShape {
  SHAPE_FOR_OPTIONS.check('shapeFor options', options);
  const { compatibility, blockSize, elementType, cacheLayout = 'LBHNC' } = options;
  const { attentionBackend, kvHeads: heads, headDim, layers } = compatibility;
  const layout = options.layout ?? layoutOf(attentionBackend, cacheLayout);
  if (layout === undefined)
    throw new VllmError('vllm.layout', `the layout of ${attentionBackend} with ${cacheLayout} is not known`);
  return {
    compatibilityHash: compatibilityHash(compatibility),
    attentionBackend,
    cacheLayout,
    regions: layers,
    blockBytes: elementsOf(layout, { heads, headDim, blockSize }) * BYTES[elementType],
    kernelBlockSize: blockSize,
    kernelBlocks: 1,
  };
}

/** Bytes of a logical block in all regions. */
export const logicalBlockBytes = ({ regions, blockBytes, kernelBlocks }: VllmStoreShape): number =>
  regions * blockBytes * kernelBlocks;

/** Tokens in a logical block. */
export const logicalBlockSize = ({ kernelBlockSize, kernelBlocks }: VllmStoreShape): number =>
  kernelBlockSize * kernelBlocks;

/**
 * The metadata of a store whose logical blocks lie one after another. In a block come its kernel blocks, and in each of
 * them its regions: so every region has the same stride.
 */
export function metadataOf(
  shape: VllmStoreShape,
  memory: { readonly address: bigint; readonly blockCount: number; readonly agentMetadata: Uint8Array },
): VllmAgentMetadata {
  const { regions, blockBytes } = shape;
  const every = <Value>(value: Value): Value[] => new Array<Value>(regions).fill(value);
  return {
    // Readers keep what they learned about an engine, so each start needs its own id.
    engine_id: randomUUID(),
    agent_metadata: memory.agentMetadata,
    kv_caches_base_addr: Array.from({ length: regions }, (_, region) => memory.address + BigInt(region * blockBytes)),
    device_id: 0,
    num_blocks: memory.blockCount * shape.kernelBlocks,
    block_lens: every(blockBytes),
    block_strides: every(regions * blockBytes),
    kv_cache_layout: shape.cacheLayout,
    block_size: shape.kernelBlockSize,
    ssm_sizes: [0, 0],
    attn_backend_name: shape.attentionBackend,
    physical_blocks_per_logical_kv_block: shape.kernelBlocks,
    region_mem_types: every('DRAM'),
  };
}
