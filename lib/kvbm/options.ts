import { checkInteger, checkOneOf, checkOptions, wrongType } from '../check.js';
import type { Tier } from './events.js';
import { type BlockLayout, type BlockStorage, blockBytes, checkLayout, checkStorage } from './layout.js';
import { BlockRegistry, eventCapacity } from './registry.js';

/**
 * Which inactive block is evicted first. `lineage`: a leaf, the one longest inactive; `lineage-fifo`: a leaf, that which
 * became one first; `lru`: the least recently used; `fifo`: the first that became inactive; `multiLru`: the least used, by
 * counts of uses that part four levels, and needs a registry with `frequency`. Source: `kvbm-logical` `pools/inactive`.
 */
export type Eviction =
  | 'lineage'
  | 'lineage-fifo'
  | 'lru'
  | 'fifo'
  | { readonly multiLru: readonly [number, number, number] };

/** A tier's blocks: how many, of what size, what they hold, and which go first. */
export interface BlockManagerOptions {
  readonly tier: Tier;
  readonly blockCount: number;
  /** Tokens in a block: a power of 2 up to 1024. */
  readonly blockSize: number;
  /** @default one of its own */
  readonly registry?: BlockRegistry;
  /** @default 'lineage' */
  readonly eviction?: Eviction;
  /** What registering a name twice does: keeps both blocks, or drops the second for the first. @default 'allow' */
  readonly duplicates?: 'allow' | 'reject';
  /** Released blocks are emptied, not kept to be found. @default false */
  readonly resetOnRelease?: boolean;
  /** Keeps what `events()` tells. `capacity`: how many a reader may fall behind, @default 8192. @default false */
  readonly events?: boolean | { readonly capacity: number };
  readonly layout?: BlockLayout;
  /** Needs `layout`. @default none: the blocks have names and no bytes */
  readonly storage?: BlockStorage;
}

const KNOWN = [
  'tier',
  'blockCount',
  'blockSize',
  'registry',
  'eviction',
  'duplicates',
  'resetOnRelease',
  'events',
  'layout',
  'storage',
];

/** A storage as the native side keeps it, which knows no regions. */
interface StorageSettings {
  kind: BlockStorage['kind'];
  path?: string;
  checksums: boolean;
}

function nativeStorage(storage: BlockStorage): StorageSettings {
  const settings = { kind: storage.kind, checksums: storage.checksums === true };
  return storage.kind === 'file' ? { ...settings, path: storage.path } : settings;
}

/** The options as the native side keeps them. */
export interface Settings {
  tier: Tier;
  blockCount: number;
  blockSize: number;
  eviction: string;
  thresholds?: readonly number[] | undefined;
  duplicates: string;
  resetOnRelease: boolean;
  eventCapacity?: number | undefined;
  layout?: (Required<BlockLayout> & { pageSize: number }) | undefined;
  storage?: StorageSettings | undefined;
}

/** @throws TypeError, RangeError */
export function settingsOf(options: BlockManagerOptions): Settings {
  const path = 'BlockManager options';
  checkOptions(path, options, KNOWN);
  const {
    tier,
    blockCount,
    blockSize,
    registry,
    eviction = 'lineage',
    duplicates = 'allow',
    resetOnRelease = false,
    events,
    layout,
    storage,
  } = options;
  checkOneOf(`${path}.tier`, tier, ['device', 'host', 'disk']);
  checkInteger(`${path}.blockCount`, blockCount, 1, 2 ** 24 - 2);
  checkInteger(`${path}.blockSize`, blockSize, 1, 1024);
  if ((blockSize & (blockSize - 1)) !== 0)
    throw new RangeError(`${path}.blockSize: expected a power of 2, got ${blockSize}`);
  if (registry !== undefined && !(registry instanceof BlockRegistry))
    wrongType(`${path}.registry`, 'a BlockRegistry', registry);
  let thresholds: readonly number[] | undefined;
  if (typeof eviction === 'object') {
    checkOptions(`${path}.eviction`, eviction, ['multiLru']);
    thresholds = eviction.multiLru;
    if (!Array.isArray(thresholds) || thresholds.length !== 3)
      wrongType(`${path}.eviction.multiLru`, 'three counts', thresholds);
    let least = 1;
    for (const [index, count] of thresholds.entries()) {
      checkInteger(`${path}.eviction.multiLru[${index}]`, count, least, 13 + index);
      least = count + 1;
    }
  } else {
    checkOneOf(`${path}.eviction`, eviction, ['lineage', 'lineage-fifo', 'lru', 'fifo']);
  }
  checkOneOf(`${path}.duplicates`, duplicates, ['allow', 'reject']);
  if (typeof resetOnRelease !== 'boolean') wrongType(`${path}.resetOnRelease`, 'a boolean', resetOnRelease);
  if (layout !== undefined) checkLayout(`${path}.layout`, layout);
  if (storage !== undefined) {
    if (layout === undefined) throw new TypeError(`${path}.layout: expected one with a storage, got undefined`);
    checkStorage(`${path}.storage`, storage, tier, blockCount * blockBytes(layout, blockSize));
  }
  return {
    tier,
    blockCount,
    blockSize,
    eviction: typeof eviction === 'object' ? 'multi-lru' : eviction,
    thresholds,
    duplicates,
    resetOnRelease,
    eventCapacity: eventCapacity(`${path}.events`, events, 8192),
    layout: layout === undefined ? undefined : { ...layout, outer: layout.outer ?? 2, pageSize: blockSize },
    storage: storage === undefined ? undefined : nativeStorage(storage),
  };
}
