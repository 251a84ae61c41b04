import { checkInteger, checkOneOf, checkOptions, checkString, wrongType } from '../check.js';
import { MemoryRegion } from '../nixl/memory.js';
import type { Tier } from './events.js';

const BYTES = { float32: 4, float16: 2, bfloat16: 2, float8: 1, int8: 1 } as const;

/**
 * The type of one number in a block.
 * @useDeclaredType
 */
export type ElementType = keyof typeof BYTES;

/**
 * What a block's bytes mean: `[layer][K and V][token][head][dimension]`, nothing between. Blocks are copied only between
 * managers of equal layouts.
 */
export interface BlockLayout {
  readonly layers: number;
  /** KV heads. */
  readonly heads: number;
  /** Elements of a head. */
  readonly headDim: number;
  readonly elementType: ElementType;
  /** 2 where a token has K and V, 1 where it has one of both, as with latent attention. @default 2 */
  readonly outer?: 1 | 2;
}

/** Layers of a block, from the first up to but without the second. */
export type LayerRange = readonly [first: number, end: number];

/** Where the bytes of a manager's blocks lie. */
export type BlockStorage = (
  | { readonly kind: 'memory' }
  /** A file that is made, must not be there before, and goes with the manager. For the tier `disk`. */
  | { readonly kind: 'file'; readonly path: string }
  /**
   * Memory of a GPU (`agent.allocate(bytes, { memory: 'VRAM' })`) for the tier `device`, or a file
   * (`agent.register({ path, bytes, access: 'write' })`) for `disk`: the agent moves the bytes. It must outlive the manager.
   */
  | { readonly kind: 'region'; readonly region: MemoryRegion }
) & {
  /** Keeps a checksum of each layer of each block, and compares it whenever that is read or copied. @default false */
  readonly checksums?: boolean;
};

/** The bytes of one block. */
export function blockBytes(layout: BlockLayout, blockSize: number): number {
  checkLayout('blockBytes layout', layout);
  checkInteger('blockBytes blockSize', blockSize, 1);
  return layout.layers * (layout.outer ?? 2) * blockSize * layout.heads * layout.headDim * BYTES[layout.elementType];
}

export function checkLayout(path: string, layout: BlockLayout): void {
  checkOptions(path, layout, ['layers', 'heads', 'headDim', 'elementType', 'outer']);
  checkInteger(`${path}.layers`, layout.layers, 1, 4096);
  checkInteger(`${path}.heads`, layout.heads, 1, 65536);
  checkInteger(`${path}.headDim`, layout.headDim, 1, 65536);
  checkOneOf(`${path}.elementType`, layout.elementType, Object.keys(BYTES) as ElementType[]);
  if (layout.outer !== undefined) checkInteger(`${path}.outer`, layout.outer, 1, 2);
}

/** Says of what managers' blocks are: equal texts are equal layouts. */
export function layoutText({
  layout,
  blockSize,
}: {
  readonly layout: BlockLayout | undefined;
  readonly blockSize: number;
}): string {
  return JSON.stringify({ ...layout, blockSize }, ['layers', 'outer', 'blockSize', 'heads', 'headDim', 'elementType']);
}

export function checkLayers(path: string, layers: LayerRange, { layers: count }: BlockLayout): void {
  if (!Array.isArray(layers) || layers.length !== 2)
    wrongType(path, 'the first layer and the one behind the last', layers);
  checkInteger(`${path}[0]`, layers[0], 0, count - 1);
  checkInteger(`${path}[1]`, layers[1], layers[0] + 1, count);
}

const FIELDS = { memory: [], file: ['path'], region: ['region'] };

export function checkStorage(path: string, storage: BlockStorage, tier: Tier, bytes: number): void {
  checkOptions(path, storage, ['kind', 'path', 'region', 'checksums']);
  checkOneOf(`${path}.kind`, storage.kind, ['memory', 'file', 'region']);
  checkOptions(path, storage, ['kind', 'checksums', ...FIELDS[storage.kind]]);
  if (storage.kind === 'file') checkString(`${path}.path`, storage.path);
  if (storage.kind === 'region') checkRegion(`${path}.region`, storage.region, bytes);
  const right = storage.kind === 'file' || storage.kind === 'region' ? tierOf(storage) : tier;
  if (tier !== right)
    throw new TypeError(`${path}: expected a manager of the tier ${right} for it, got one of the tier ${tier}`);
  if (storage.checksums !== undefined && typeof storage.checksums !== 'boolean') {
    wrongType(`${path}.checksums`, 'a boolean', storage.checksums);
  }
}

function tierOf(storage: BlockStorage): Tier {
  return storage.kind === 'region' && storage.region.memory === 'VRAM' ? 'device' : 'disk';
}

function checkRegion(path: string, region: MemoryRegion, bytes: number): void {
  if (!(region instanceof MemoryRegion)) wrongType(path, 'a MemoryRegion', region);
  region.open(path);
  if (region.memory !== 'VRAM' && region.memory !== 'FILE')
    throw new TypeError(`${path}: expected VRAM or FILE, got ${region.memory}; host memory is the kind memory`);
  if (region.bytes < bytes)
    throw new RangeError(`${path}: expected ${bytes} bytes at least, all blocks', got ${region.bytes}`);
}
