import { checkArray, checkInteger, checkOneOf, wrongType } from '../check.js';
import { badArgument } from '../errors.js';
import { boolean, custom, integer, nested, type OptionTable, oneOf, optionTable } from '../options.js';
import type { Tier } from './events.js';
import {
  type BlockLayout,
  type BlockStorage,
  blockBytes,
  checkStorageFits,
  LAYOUT_OPTIONS,
  STORAGE,
} from './layout.js';
import { BlockRegistry, eventCapacity, eventsOption } from './registry.js';

/**
 * Which inactive block is evicted first.
 *
 * - `lineage`: of the leaves, the one that has been inactive the longest
 * - `lineage-fifo`: of the leaves, the one that became a leaf first
 * - `lru`: the least recently used
 * - `fifo`: the one that became inactive first
 * - `multi-lru`: the least used, by four levels of use. `thresholds` are the three use counts between the levels. Needs
 * a registry with `frequency`.
 *
 * Routers count blocks after a removed one as lost. So blocks whose events are published need `lineage` or
 * `lineage-fifo`, which keep a block while one after it is there.
 *
 * Source: `kvbm-logical` `pools/inactive`.
 */
export type Eviction =
  | 'lineage'
  | 'lineage-fifo'
  | 'lru'
  | 'fifo'
  | { readonly policy: 'multi-lru'; readonly thresholds: readonly [number, number, number] };

/** The blocks of one tier: their number, size, storage and eviction. */
export interface BlockManagerOptions {
  readonly tier: Tier;
  readonly blockCount: number;
  /** Tokens in a block: a power of 2 up to 1024. */
  readonly blockSize: number;
  /** @default its own registry */
  readonly registry?: BlockRegistry;
  /** @default 'lineage' */
  readonly eviction?: Eviction;
  /** If a name is registered twice: keeps both blocks, or replaces the second by the first. @default 'allow' */
  readonly duplicates?: 'allow' | 'reject';
  /** Empties released blocks instead of keeping them findable. @default false */
  readonly resetOnRelease?: boolean;
  /** Records changes for `events()`. `capacity`: events that a reader may lag behind, @default 8192. @default false */
  readonly events?: boolean | { readonly capacity: number };
  readonly layout?: BlockLayout;
  /** Needs `layout`. @default none: the blocks have names and no bytes */
  readonly storage?: BlockStorage;
}

type MultiLru = Exclude<Eviction, string>;

const THRESHOLDS = custom<MultiLru['thresholds']>('three increasing use counts', (path, value) => {
  checkArray(path, value, 'three use counts');
  if (value.length !== 3) wrongType(path, 'an array of three use counts', value);
  let min = 1;
  for (const [index, count] of value.entries()) {
    checkInteger(`${path}[${index}]`, count, min, 13 + index);
    min = count + 1;
  }
});

const MULTI_LRU_OPTIONS: OptionTable<MultiLru> = optionTable<MultiLru>({
  policy: oneOf('multi-lru').required(),
  thresholds: THRESHOLDS.required(),
});

function checkBlockSize(path: string, value: unknown): void {
  checkInteger(path, value, 1, 1024);
  if ((value & (value - 1)) !== 0) throw badArgument(new RangeError(`${path}: expected a power of 2, got ${value}`));
}

const MANAGER_OPTIONS: OptionTable<BlockManagerOptions> = optionTable<BlockManagerOptions>({
  tier: oneOf('device', 'host', 'disk').required(),
  blockCount: integer(1, 2 ** 24 - 2).required(),
  blockSize: custom<number>('a power of 2 from 1 to 1024', checkBlockSize, 'integer').required(),
  registry: custom<BlockRegistry>('a BlockRegistry', (path, value) => {
    if (!(value instanceof BlockRegistry)) wrongType(path, 'a BlockRegistry', value);
  }),
  eviction: custom<Eviction>('the name of a policy, or the policy multi-lru with its thresholds', (path, value) => {
    if (typeof value === 'object' && value !== null) MULTI_LRU_OPTIONS.check(path, value);
    else checkOneOf(path, value, ['lineage', 'lineage-fifo', 'lru', 'fifo']);
  }),
  duplicates: oneOf('allow', 'reject'),
  resetOnRelease: boolean,
  events: eventsOption(),
  layout: nested(LAYOUT_OPTIONS),
  storage: STORAGE,
});

/** The native side's form of a storage. It does not know regions. */
interface StorageSettings {
  kind: BlockStorage['kind'];
  path?: string;
  checksums: boolean;
}

function nativeStorage(storage: BlockStorage): StorageSettings {
  const settings = { kind: storage.kind, checksums: storage.checksums === true };
  return storage.kind === 'file' ? { ...settings, path: storage.path } : settings;
}

/** The native side's form of the options. */
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
  MANAGER_OPTIONS.check(path, options);
  const {
    tier,
    blockCount,
    blockSize,
    eviction = 'lineage',
    duplicates = 'allow',
    resetOnRelease = false,
    events,
    layout,
    storage,
  } = options;
  if (storage !== undefined) {
    if (layout === undefined)
      throw badArgument(new TypeError(`${path}.layout: expected one with a storage, got undefined`));
    checkStorageFits(`${path}.storage`, storage, tier, blockCount * blockBytes(layout, blockSize));
  }
  return {
    tier,
    blockCount,
    blockSize,
    eviction: typeof eviction === 'object' ? eviction.policy : eviction,
    thresholds: typeof eviction === 'object' ? eviction.thresholds : undefined,
    duplicates,
    resetOnRelease,
    eventCapacity: eventCapacity(events, 8192),
    layout: layout === undefined ? undefined : { ...layout, outer: layout.outer ?? 2, pageSize: blockSize },
    storage: storage === undefined ? undefined : nativeStorage(storage),
  };
}
