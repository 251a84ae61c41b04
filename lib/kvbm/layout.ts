import { checkInteger, checkOneOf, checkOptions, checkString } from '../addon/check.js';

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

/** Where the bytes of a manager's blocks lie. */
export type BlockStorage = (
  | { readonly kind: 'memory' }
  /** A file that is made, must not be there before, and goes with the manager. */
  | { readonly kind: 'file'; readonly path: string }
) & {
  /** Keeps a checksum of each block, and compares it whenever the block is read or copied. @default false */
  readonly checksums?: boolean;
};

/** The bytes of one block. */
export function blockBytes(layout: BlockLayout, blockSize: number): number {
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

export function checkStorage(path: string, storage: BlockStorage): void {
  checkOptions(path, storage, ['kind', 'path', 'checksums']);
  checkOneOf(`${path}.kind`, storage.kind, ['memory', 'file']);
  if (storage.kind === 'file') checkString(`${path}.path`, storage.path);
  else if ('path' in storage) throw new TypeError(`${path}.path: a storage of kind memory has none`);
  if (storage.checksums !== undefined && typeof storage.checksums !== 'boolean') {
    throw new TypeError(`${path}.checksums: expected a boolean, got ${String(storage.checksums)}`);
  }
}
