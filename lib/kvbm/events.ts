import type { Handle } from '../addon/native.js';
import { NativeStream, StreamIterator } from '../addon/stream.js';
import { wordsAt } from './hashes.js';

/** The kind of memory that a manager's blocks lie in. */
export type Tier = 'device' | 'host' | 'disk';

/** The router's names of the tiers. Source: `dynamo-kv-router` `protocols.rs` (`StorageTier`). */
export type BlockEventTier = 'device' | 'host_pinned' | 'disk';

/** @inline */
interface EventBase {
  readonly tier: BlockEventTier;
}

/**
 * A change of a manager's contents, in the form of the router's events: the hash of the whole sequence names a block,
 * the hash of its tokens describes it. Each block is reported as stored and removed in turn. Duplicates and references
 * do not count. After `lost` the subscriber was too slow, and should start again with a snapshot.
 */
export type BlockEvent = EventBase &
  (
    | {
        readonly kind: 'stored';
        /** Increases with each change of the manager. */
        readonly eventId: bigint;
        readonly blockHashes: BigUint64Array;
        /** One for each of `blockHashes`. */
        readonly tokensHashes: BigUint64Array;
        /** Sequence hash of the block before the first; null if the run begins its sequence. */
        readonly parentHash: bigint | null;
        /** Index of the first block in its sequence. */
        readonly startPosition: number;
      }
    | { readonly kind: 'removed'; readonly eventId: bigint; readonly blockHashes: BigUint64Array }
    /** The manager is empty; a snapshot follows. */
    | { readonly kind: 'cleared'; readonly eventId: bigint }
    | { readonly kind: 'lost'; readonly count: number }
  );

/** The part of a manager that `KvPublisher` needs to publish a worker's cache. */
export interface BlockEventSource {
  readonly tier: Tier;
  readonly blockSize: number;
  /** The changes from now on; with `snapshot` the present contents come first. Leaving the loop ends the stream. */
  events(options?: { readonly snapshot?: boolean }): AsyncIterableIterator<BlockEvent> & AsyncDisposable;
}

export const EVENT_TIERS: Record<Tier, BlockEventTier> = { device: 'device', host: 'host_pinned', disk: 'disk' };
const HEADER = 40;

export function eventFrom(bytes: Uint8Array, tier: Tier): BlockEvent {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const base = { tier: EVENT_TIERS[tier] };
  const count = view.getUint32(4, true);
  const eventId = view.getBigUint64(8, true);
  const hashes = (from: number): BigUint64Array => wordsAt(bytes, HEADER + from * 8, count);
  switch (view.getUint32(0, true)) {
    case 0: {
      const parentHash = view.getBigUint64(32, true) === 1n ? view.getBigUint64(24, true) : null;
      const startPosition = Number(view.getBigUint64(16, true));
      return {
        ...base,
        kind: 'stored',
        eventId,
        parentHash,
        startPosition,
        blockHashes: hashes(0),
        tokensHashes: hashes(count),
      };
    }
    case 1:
      return { ...base, kind: 'removed', eventId, blockHashes: hashes(0) };
    case 2:
      return { ...base, kind: 'cleared', eventId };
    default:
      return { ...base, kind: 'lost', count: Number(eventId) };
  }
}

export function eventStream(handle: Handle<'stream'>, tier: Tier): StreamIterator<BlockEvent> {
  return new StreamIterator(new NativeStream(handle, 'blocks.events', { background: true }), ({ bytes }) =>
    eventFrom(bytes, tier),
  );
}
