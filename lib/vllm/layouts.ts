import { checkInteger } from '../check.js';
import { badArgument } from '../errors.js';
import { integer, type OptionTable, optionTable } from '../options.js';

/** What an element's position in a block depends on. */
export type BlockAxis = 'head' | 'token' | 'dim';

/**
 * The order of the elements of a block of one layer, outermost axis first. For each index of `outer` come the keys, in
 * the order `keys`, and then the values, in the order `values`.
 */
export interface VllmBlockLayout {
  /** The attention backend: `attn_backend_name` of the metadata. */
  readonly backend: string;
  /** `kv_cache_layout` of the metadata. */
  readonly cacheLayout: string;
  readonly outer: readonly BlockAxis[];
  readonly keys: readonly BlockAxis[];
  /** Null if a token has one vector for both, as in latent attention. */
  readonly values: readonly BlockAxis[] | null;
  /** Whether blocks of a running vLLM were compared, or it is only known from vLLM's source. */
  readonly seen: boolean;
}

type Order = Pick<VllmBlockLayout, 'outer' | 'keys' | 'values'>;

/** K is transposed in each head, then comes V. */
const TRANSPOSED: Order = { outer: ['head'], keys: ['dim', 'token'], values: ['token', 'dim'] };
/** K and V of a token side by side, heads outside. */
const BY_HEAD: Order = { outer: ['head', 'token'], keys: ['dim'], values: ['dim'] };
/** K and V of a head side by side, tokens outside. */
const BY_TOKEN: Order = { outer: ['token', 'head'], keys: ['dim'], values: ['dim'] };
const LATENT: Order = { outer: ['token'], keys: ['dim'], values: null };

const unseen = (backends: readonly string[], cacheLayout: string, order: Order): VllmBlockLayout[] =>
  backends.map((backend) => ({ backend, cacheLayout, ...order, seen: false }));

const DENSE = ['FLASH_ATTN', 'FLASHINFER', 'TRITON_ATTN', 'FLEX_ATTENTION'];
const LATENT_BACKENDS = ['FLASHMLA', 'CUTLASS_MLA', 'FLASHINFER_MLA', 'TRITON_MLA', 'FLASH_ATTN_MLA'];

/**
 * The layouts of vLLM 0.31.0 and 0.32.0. The connector selects `LBHNC` unless the model has latent attention.
 * FLASHINFER with a cache of nvfp4 has another layout. Source: vLLM `v1/kv_cache_layout.py`, `v1/attention/backends`.
 */
export const VLLM_LAYOUTS: readonly VllmBlockLayout[] = [
  { backend: 'CPU_ATTN', cacheLayout: 'LBHNC', ...TRANSPOSED, seen: true },
  ...unseen(DENSE, 'LBHNC', BY_HEAD),
  ...unseen(DENSE, 'LBNHC', BY_TOKEN),
  ...unseen(LATENT_BACKENDS, 'LBHNC', LATENT),
  ...unseen(LATENT_BACKENDS, 'LBNHC', LATENT),
];

/** The layout of a backend; undefined if it is not known. Blocks of an unknown layout can be stored, not read. */
export function layoutOf(backend: string, cacheLayout: string): VllmBlockLayout | undefined {
  return VLLM_LAYOUTS.find((layout) => layout.backend === backend && layout.cacheLayout === cacheLayout);
}

/** The sizes of a block of one layer. */
export interface BlockShape {
  /** KV heads. */
  readonly heads: number;
  readonly headDim: number;
  /** Tokens in a block. */
  readonly blockSize: number;
}

const SHAPE: OptionTable<BlockShape> = optionTable<BlockShape>({
  heads: integer(1, 65536).about('KV heads.').required(),
  headDim: integer(1, 65536).about('Elements of a head.').required(),
  blockSize: integer(1, 65536).about('Tokens in a block.').required(),
});

/** Elements of a block: floats, or the bits of 16-bit floats, or bytes. They are moved, not converted. */
export type BlockElements = Float32Array | Uint16Array | Uint8Array;

interface Strides {
  readonly base: number;
  readonly head: number;
  readonly token: number;
  readonly dim: number;
}

function sizesOf({ heads, headDim, blockSize }: BlockShape): Record<BlockAxis, number> {
  return { head: heads, token: blockSize, dim: headDim };
}

/** Elements of a block of one layer. */
export function elementsOf(layout: VllmBlockLayout, shape: BlockShape): number {
  return shape.heads * shape.headDim * shape.blockSize * (layout.values === null ? 1 : 2);
}

/** The position of element (head, token, dim) is the base plus the sum of the strides. */
function stridesOf(layout: VllmBlockLayout, shape: BlockShape, side: 'keys' | 'values'): Strides {
  const sizes = sizesOf(shape);
  const axes = layout[side];
  if (axes === null) throw badArgument(new RangeError(`${layout.backend}: its blocks have no separate values`));
  const sizeOf = (list: readonly BlockAxis[]): number => list.reduce((product, axis) => product * sizes[axis], 1);
  const keys = sizeOf(layout.keys);
  const both = keys + (layout.values === null ? 0 : sizeOf(layout.values));
  const strides: Record<BlockAxis, number> = { head: 0, token: 0, dim: 0 };
  const fill = (list: readonly BlockAxis[], inner: number): void => {
    let stride = inner;
    for (const axis of [...list].reverse()) {
      strides[axis] = stride;
      stride *= sizes[axis];
    }
  };
  fill(axes, 1);
  fill(layout.outer, both);
  return { base: side === 'keys' ? 0 : keys, ...strides };
}

function checkParts(
  path: string,
  layout: VllmBlockLayout,
  shape: BlockShape,
  block: BlockElements,
  first: number,
  tokens: number,
): void {
  SHAPE.check(`${path} shape`, shape);
  checkInteger(`${path} first`, first, 0, shape.blockSize);
  checkInteger(`${path} tokens`, tokens, 0, shape.blockSize - first);
  const elements = elementsOf(layout, shape);
  if (block.length !== elements)
    throw badArgument(new RangeError(`${path} block: expected ${elements} elements, got ${block.length}`));
}

/** Calls `move` for each element of the rows: with the keys or the values, and its places in the block and in these. */
function forEachRow<Elements extends BlockElements>(
  path: string,
  layout: VllmBlockLayout,
  shape: BlockShape,
  block: Elements,
  rows: { readonly keys: Elements; readonly values: Elements },
  first: number,
  move: (side: Elements, packed: number, plain: number) => void,
): void {
  const row = shape.heads * shape.headDim;
  const tokens = rows.keys.length / row;
  checkParts(path, layout, shape, block, first, tokens);
  for (const name of ['keys', 'values'] as const) {
    const side = rows[name];
    if (side.length !== tokens * row)
      throw badArgument(new RangeError(`${path} rows.${name}: expected ${tokens * row} elements, got ${side.length}`));
    const strides = stridesOf(layout, shape, name);
    forEachElement(shape, strides, first, tokens, (packed, plain) => move(side, packed, plain));
  }
}

/**
 * Writes rows into a block of one layer, from token `first` on. A row contains the keys (or values) of one token:
 * `heads` x `headDim` elements. The other tokens of the block stay as they are.
 *
 * @throws RangeError if the block or the rows have other sizes
 */
export function packBlock<Elements extends BlockElements>(
  layout: VllmBlockLayout,
  shape: BlockShape,
  block: Elements,
  rows: { readonly keys: Elements; readonly values: Elements },
  first = 0,
): void {
  forEachRow('packBlock', layout, shape, block, rows, first, (side, packed, plain) => {
    block[packed] = side[plain] as number;
  });
}

/**
 * Copies rows out of a block of one layer.
 *
 * @param rows receives `tokens` rows of keys and of values
 * @throws RangeError if the block or the rows have other sizes
 */
export function unpackBlock<Elements extends BlockElements>(
  layout: VllmBlockLayout,
  shape: BlockShape,
  block: Elements,
  rows: { readonly keys: Elements; readonly values: Elements },
  first = 0,
): void {
  forEachRow('unpackBlock', layout, shape, block, rows, first, (side, packed, plain) => {
    side[plain] = block[packed] as number;
  });
}

function forEachElement(
  { heads, headDim }: BlockShape,
  { base, head, token, dim }: Strides,
  first: number,
  tokens: number,
  visit: (packed: number, plain: number) => void,
): void {
  let plain = 0;
  for (let t = 0; t < tokens; t++)
    for (let h = 0; h < heads; h++) {
      let packed = base + h * head + (first + t) * token;
      for (let d = 0; d < headDim; d++, plain++, packed += dim) visit(packed, plain);
    }
}

/**
 * The kernel blocks of logical blocks. A worker whose kernels need smaller blocks than its scheduler divides each of
 * its logical blocks into `ratio` of them, `physical_blocks_per_logical_kv_block` of the metadata.
 */
export function kernelBlocks(logicalIds: readonly number[], ratio: number): number[] {
  checkInteger('kernelBlocks ratio', ratio, 1);
  return logicalIds.flatMap((id) => Array.from({ length: ratio }, (_, index) => id * ratio + index));
}
