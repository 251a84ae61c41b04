import { packArgs } from '../addon/codec.js';
import { arg, invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { NativeStream, StreamIterator } from '../addon/stream.js';
import { checkArray, checkInstance, checkOneOf, wrongType } from '../check.js';
import { custom, integer, type Option, type OptionTable, oneOf, optionTable } from '../options.js';
import { blockRange } from './block-range.js';
import { call } from './errors.js';
import type { Tier } from './events.js';
import { LineageHashes } from './hashes.js';
import { TokenSequence } from './sequence.js';

/** What a registry keeps besides the names. */
export interface BlockRegistryOptions {
  /**
   * Counts the uses of blocks, approximately (TinyLFU), for 2^18, 2^21 or 2^24 names. Eviction `multi-lru` and
   * `minFrequency` of `BlockTiers` need it. @default not counted
   */
  readonly frequency?: 'small' | 'medium' | 'large';
  /**
   * Records the crate's events for `events()`. `capacity`: events that a reader may lag behind,
   *
   * @default 1024.
   * @default false
   */
  readonly events?: boolean | { readonly capacity: number };
}

/** A name came into use, or is no longer in use, in any tier. A live weak block keeps its name in use. */
export type RegistryEvent =
  | { readonly kind: 'created' | 'removed'; readonly hash: bigint }
  /** `count` events before the next were lost, because the reader was too slow. */
  | { readonly kind: 'lost'; readonly count: number };

type Events = boolean | { readonly capacity: number };

const EVENTS_OPTIONS: OptionTable<Exclude<Events, boolean>> = optionTable<Exclude<Events, boolean>>({
  capacity: integer(1, 2 ** 24).required(),
});

/** The option `events` of managers and registries. */
export function eventsOption(): Option<Events> {
  return custom<Events>('a boolean or an object with a capacity', (path, value) => {
    if (typeof value !== 'boolean') EVENTS_OPTIONS.check(path, value);
  });
}

/** The capacity that the option `events` means; undefined if events are not recorded. */
export function eventCapacity(events: Events | undefined, standard: number): number | undefined {
  if (events === undefined || typeof events === 'boolean') return events === true ? standard : undefined;
  return events.capacity;
}

const REGISTRY_OPTIONS: OptionTable<BlockRegistryOptions> = optionTable<BlockRegistryOptions>({
  frequency: oneOf('small', 'medium', 'large'),
  events: eventsOption(),
});

const TIER_BITS: Record<Tier, number> = { device: 1, host: 2, disk: 4 };

/**
 * The names of blocks that managers contain. Managers of several tiers share one registry, so that it knows the tiers
 * of each block. A registry has at most one manager of each tier. Source: `kvbm-logical` `BlockRegistry`.
 */
export class BlockRegistry {
  /** @internal */
  readonly handle: Handle<'registry'>;

  constructor(options: BlockRegistryOptions = {}) {
    REGISTRY_OPTIONS.check('BlockRegistry options', options);
    const { frequency, events } = options;
    const args = packArgs({ frequency, eventCapacity: eventCapacity(events, 1024) });
    this.handle = invokeSync(native.registryCreate, 'BlockRegistry', { args });
  }

  /** @internal */
  static of(handle: Handle<'registry'>): BlockRegistry {
    return Object.assign(Object.create(BlockRegistry.prototype) as BlockRegistry, { handle });
  }

  /**
   * Whether each block is in one of the tiers: one byte a block, 1 or 0. The answer may lag behind a concurrent change;
   * matching is exact. Does not count as a use.
   */
  presence(names: TokenSequence | LineageHashes, tiers: readonly Tier[] = ['device', 'host', 'disk']): Uint8Array {
    const operation = 'registry.presence';
    checkArray(`${operation} tiers`, tiers, 'tiers');
    if (!(names instanceof TokenSequence) && !(names instanceof LineageHashes))
      wrongType(`${operation} names`, 'a TokenSequence or LineageHashes', names);
    let mask = 0;
    for (const [index, tier] of tiers.entries()) {
      checkOneOf(`${operation} tiers[${index}]`, tier, ['device', 'host', 'disk']);
      mask |= TIER_BITS[tier];
    }
    const count = names instanceof TokenSequence ? names.blockCount : names.length;
    if (count === 0) return new Uint8Array();
    const bits =
      names instanceof TokenSequence
        ? call(native.registryPresence, operation, {
            handle: this.handle,
            a: arg('blockRange', blockRange(0, count)),
            b: arg('blockSize', names.blockSize),
            other: names.handle(operation),
          })
        : call(native.registryPresence, operation, { handle: this.handle, args: names.bytes });
    return Uint8Array.from(bits ?? [], (bit) => ((bit & mask) === 0 ? 0 : 1));
  }

  /** How often each block was used recently, from 0 to 15; all 0 without the option `frequency`. */
  frequency(names: LineageHashes): Uint8Array {
    return this.#frequency('registry.frequency', names, 0);
  }

  /** Counts a use of each block. Returns the new frequencies. */
  touch(names: LineageHashes): Uint8Array {
    return this.#frequency('registry.touch', names, 1);
  }

  #frequency(operation: string, names: LineageHashes, touch: number): Uint8Array {
    checkInstance(`${operation} names`, names, LineageHashes);
    if (names.length === 0) return new Uint8Array();
    return Uint8Array.from(
      call(native.registryFrequency, operation, { handle: this.handle, b: arg('isUse', touch), args: names.bytes }) ??
        [],
    );
  }

  /** Number of names in use. */
  get size(): number {
    return call(native.registryCount, 'registry.size', { handle: this.handle });
  }

  /** The crate's own events, from now on. Leaving the loop ends the stream. Needs the option `events`. */
  events(): AsyncIterableIterator<RegistryEvent> & AsyncDisposable {
    const handle = call(native.registryEvents, 'registry.events', { handle: this.handle });
    return new StreamIterator<RegistryEvent>(
      new NativeStream(handle, 'registry.events', { background: true }),
      ({ bytes }) => {
        if (bytes[0] === 2)
          return {
            kind: 'lost',
            count: Number(new DataView(bytes.buffer, bytes.byteOffset + 1).getBigUint64(0, true)),
          };
        return { kind: bytes[0] === 0 ? 'created' : 'removed', hash: new LineageHashes(bytes.subarray(1)).at(0) };
      },
    );
  }
}
