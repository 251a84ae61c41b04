import { checkInteger, wrongType } from '../check.js';
import { badArgument } from '../errors.js';
import { MemoryRegion } from '../nixl/memory.js';
import { boolean, custom, integer, type OptionTable, oneOf, optionTable, text, variants } from '../options.js';
import type { Tier } from './events.js';

const BYTES = { float32: 4, float16: 2, bfloat16: 2, float8: 1, int8: 1 } as const;

/**
 * The type of one number in a block.
 * @useDeclaredType
 */
export type ElementType = keyof typeof BYTES;

/**
 * The shape of a block's bytes: `[layer][K and V][token][head][dimension]`, without padding. Blocks are copied only
 * between managers of equal layouts.
 */
export interface BlockLayout {
  readonly layers: number;
  /** KV heads. */
  readonly heads: number;
  /** Elements of a head. */
  readonly headDim: number;
  readonly elementType: ElementType;
  /** 2 if a token has K and V; 1 if it has one vector for both, as in latent attention. @default 2 */
  readonly outer?: 1 | 2;
}

export const LAYOUT_OPTIONS: OptionTable<BlockLayout> = optionTable<BlockLayout>({
  layers: integer(1, 4096).required(),
  heads: integer(1, 65536).required(),
  headDim: integer(1, 65536).required(),
  elementType: oneOf('float32', 'float16', 'bfloat16', 'float8', 'int8').required(),
  outer: custom<1 | 2>('1 or 2', (path, value) => checkInteger(path, value, 1, 2), 'integer'),
});

/** Layers of a block, from the first up to, but without, the second. */
export type LayerRange = readonly [first: number, end: number];

/** Where the bytes of a manager's blocks lie. */
export type BlockStorage = (
  | { readonly kind: 'memory' }
  /**
   * A new file, for the tier `disk`. It has no name and only this process can open it: `path`, which must not exist,
   * selects its folder. The kernel removes it when the process ends, however that is.
   */
  | { readonly kind: 'file'; readonly path: string }
  /**
   * Memory of a GPU (`agent.allocate(bytes, { memory: 'VRAM' })`) for the tier `device`, or a file (`agent.register({
   * path, bytes, access: 'write' })`) for `disk`. The region's agent moves the bytes. The region must outlive the
   * manager.
   */
  | { readonly kind: 'region'; readonly region: MemoryRegion }
) & {
  /** Keeps a checksum of each layer of each block, and compares it when the layer is read or copied. @default false */
  readonly checksums?: boolean;
};

function checkRegion(path: string, region: unknown): void {
  if (!(region instanceof MemoryRegion)) wrongType(path, 'a MemoryRegion', region);
  region.assertOpen(path);
  if (region.memory !== 'VRAM' && region.memory !== 'FILE')
    throw badArgument(
      new TypeError(`${path}: expected VRAM or FILE, got ${region.memory}; use the kind memory for host memory`),
    );
}

type Storage<Kind extends BlockStorage['kind']> = Extract<BlockStorage, { readonly kind: Kind }>;

export const STORAGE = variants<BlockStorage>({
  memory: optionTable<Storage<'memory'>>({ kind: oneOf('memory').required(), checksums: boolean }),
  file: optionTable<Storage<'file'>>({ kind: oneOf('file').required(), checksums: boolean, path: text.required() }),
  region: optionTable<Storage<'region'>>({
    kind: oneOf('region').required(),
    checksums: boolean,
    region: custom<MemoryRegion>('a MemoryRegion of VRAM or a file', checkRegion).required(),
  }),
});

/** The bytes of one block. */
export function blockBytes(layout: BlockLayout, blockSize: number): number {
  LAYOUT_OPTIONS.check('blockBytes layout', layout);
  checkInteger('blockBytes blockSize', blockSize, 1);
  return layout.layers * (layout.outer ?? 2) * blockSize * layout.heads * layout.headDim * BYTES[layout.elementType];
}

/**
 * Checks a storage that has passed `STORAGE` against its manager's other options; `bytes` is the size of all blocks.
 */
export function checkStorageFits(path: string, storage: BlockStorage, tier: Tier, bytes: number): void {
  const expected = requiredTier(storage);
  if (expected !== undefined && tier !== expected)
    throw badArgument(
      new TypeError(`${path}: expected a manager of the tier ${expected} for it, got one of the tier ${tier}`),
    );
  if (storage.kind === 'region' && storage.region.bytes < bytes)
    throw badArgument(
      new RangeError(
        `${path}.region: expected at least ${bytes} bytes, the size of all blocks, got ${storage.region.bytes}`,
      ),
    );
}

function requiredTier(storage: BlockStorage): Tier | undefined {
  if (storage.kind === 'memory') return undefined;
  return storage.kind === 'region' && storage.region.memory === 'VRAM' ? 'device' : 'disk';
}

interface LayoutOwner {
  readonly layout: BlockLayout | undefined;
  readonly blockSize: number;
}

/** The layout of a manager's blocks as text: equal texts are equal layouts. */
export function layoutText({ layout, blockSize }: LayoutOwner): string {
  return JSON.stringify({ ...layout, blockSize }, ['layers', 'outer', 'blockSize', 'heads', 'headDim', 'elementType']);
}

/** Layers of a manager's blocks; 0 without a layout. */
export function layerCount({ layout }: Pick<LayoutOwner, 'layout'>): number {
  return layout?.layers ?? 0;
}

/** Two numbers; `checkLayers` compares them with a layout. */
export const LAYERS = custom<LayerRange>('two numbers, the first layer and the one after the last', (path, value) => {
  if (!Array.isArray(value) || value.length !== 2)
    wrongType(path, 'two numbers, the first layer and the one after the last', value);
});

export function checkLayers(path: string, layers: LayerRange, { layers: count }: BlockLayout): void {
  checkInteger(`${path}[0]`, layers[0], 0, count - 1);
  checkInteger(`${path}[1]`, layers[1], layers[0] + 1, count);
}
