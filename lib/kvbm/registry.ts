import { packArgs } from '../addon/codec.js';
import { invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { PullIterator, PullStream } from '../addon/stream.js';
import { checkArray, checkInstance, checkInteger, checkOneOf, checkOptions, wrongType } from '../check.js';
import { call } from './errors.js';
import type { Tier } from './events.js';
import { LineageHashes } from './hashes.js';
import { pair, TokenSequence } from './sequence.js';

/** What a registry keeps besides the names. */
export interface BlockRegistryOptions {
  /**
   * Counts how often blocks are used, approximately (TinyLFU): of 2^18, 2^21 or 2^24 names. Eviction `multi-lru` and the
   * frequency policy need it. @default not counted
   */
  readonly frequency?: 'small' | 'medium' | 'large';
  /** Keeps the crate's own events for `events()`. `capacity`: how many a reader may fall behind, @default 1024. @default false */
  readonly events?: boolean | { readonly capacity: number };
}

/** A name came into use or fell out of it, in any tier. A live weak block keeps its name in use. */
export type RegistryEvent =
  | { readonly kind: 'created' | 'removed'; readonly hash: bigint }
  /** So many events before the next were lost, because the reader was too slow. */
  | { readonly kind: 'lost'; readonly count: number };

const BITS: Record<Tier, number> = { device: 1, host: 2, disk: 4 };
const MOST_EVENTS = 2 ** 24;

export function eventCapacity(
  path: string,
  events: boolean | { readonly capacity: number } | undefined,
  standard: number,
): number | undefined {
  if (events === undefined || typeof events === 'boolean') return events === true ? standard : undefined;
  checkOptions(path, events, ['capacity']);
  checkInteger(`${path}.capacity`, events.capacity, 1, MOST_EVENTS);
  return events.capacity;
}

/**
 * The names of blocks that managers hold. Managers of several tiers share one, so that it knows where a block is; a tier
 * has one manager. Source: `kvbm-logical` `BlockRegistry`.
 */
export class BlockRegistry {
  /** @internal */
  readonly handle: Handle;

  constructor(options: BlockRegistryOptions = {}) {
    const path = 'BlockRegistry options';
    checkOptions(path, options, ['frequency', 'events']);
    const { frequency, events } = options;
    if (frequency !== undefined) checkOneOf(`${path}.frequency`, frequency, ['small', 'medium', 'large']);
    const args = packArgs({ frequency, eventCapacity: eventCapacity(`${path}.events`, events, 1024) });
    this.handle = invokeSync(native.registryCreate, 'BlockRegistry', { args });
  }

  /** @internal */
  static of(handle: Handle): BlockRegistry {
    return Object.assign(Object.create(BlockRegistry.prototype) as BlockRegistry, { handle });
  }

  /**
   * Which of the blocks lie in one of the tiers: a byte each, 1 or 0. It may lag a change that is under way; matching is
   * exact. Does not count as a use.
   */
  presence(names: TokenSequence | LineageHashes, tiers: readonly Tier[] = ['device', 'host', 'disk']): Uint8Array {
    checkArray('registry.presence tiers', tiers, 'tiers');
    if (!(names instanceof TokenSequence) && !(names instanceof LineageHashes))
      wrongType('registry.presence names', 'a TokenSequence or LineageHashes', names);
    let mask = 0;
    for (const [index, tier] of tiers.entries()) {
      checkOneOf(`registry.presence tiers[${index}]`, tier, ['device', 'host', 'disk']);
      mask |= BITS[tier];
    }
    const count = names instanceof TokenSequence ? names.blockCount : names.length;
    if (count === 0) return new Uint8Array();
    const operation = 'registry.presence';
    const bits =
      names instanceof TokenSequence
        ? call(
            native.registryPresence,
            operation,
            this.handle,
            pair(0, count),
            names.blockSize,
            null,
            null,
            names.handle(operation),
          )
        : call(native.registryPresence, operation, this.handle, 0, 0, null, names.bytes);
    return Uint8Array.from(bits ?? [], (bit) => ((bit & mask) === 0 ? 0 : 1));
  }

  /** How often each block was used lately, 0 to 15; all 0 without the option `frequency`. */
  frequency(names: LineageHashes): Uint8Array {
    return this.#frequency('registry.frequency', names, 0);
  }

  /** Counts a use of each block. Gives what `frequency` then does. */
  touch(names: LineageHashes): Uint8Array {
    return this.#frequency('registry.touch', names, 1);
  }

  #frequency(operation: string, names: LineageHashes, touch: number): Uint8Array {
    checkInstance(`${operation} names`, names, LineageHashes);
    if (names.length === 0) return new Uint8Array();
    return Uint8Array.from(call(native.registryFrequency, operation, this.handle, 0, touch, null, names.bytes) ?? []);
  }

  /** Names in use. */
  get size(): number {
    return call(native.registryCount, 'registry.size', this.handle);
  }

  /** The crate's own events, from now on. Leaving the loop ends it. Needs the option `events`. */
  events(): AsyncIterableIterator<RegistryEvent> & AsyncDisposable {
    const handle = call(native.registryEvents, 'registry.events', this.handle);
    return new PullIterator<RegistryEvent>(
      new PullStream(handle, 'registry.events', { background: true }),
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
