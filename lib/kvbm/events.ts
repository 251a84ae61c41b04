import type { Handle } from '../addon/native.js';
import { PullIterator, PullStream } from '../addon/stream.js';
import { wordsAt } from './hashes.js';

/** Where a manager's blocks lie. */
export type Tier = 'device' | 'host' | 'disk';

/** The tiers in the router's words. Source: `dynamo-kv-router` `protocols.rs` (`StorageTier`). */
export type BlockEventTier = 'device' | 'host_pinned' | 'disk';

/** @inline */
interface EventBase {
  readonly tier: BlockEventTier;
}

/**
 * A change of what a manager holds, in the words of the router's events: hashes of whole sequences name blocks, hashes of
 * tokens describe them. Each block is told stored and removed in turn, however many duplicates and references of it there
 * are. Where `lost` comes the subscriber was too slow: it should begin again with a snapshot.
 */
export type BlockEvent = EventBase &
  (
    | {
        readonly kind: 'stored';
        /** Counts a manager's changes. */
        readonly eventId: bigint;
        readonly blockHashes: BigUint64Array;
        /** As many as `blockHashes`. */
        readonly tokensHashes: BigUint64Array;
        /** Sequence hash of the block before the first; null where the run begins its sequence. */
        readonly parentHash: bigint | null;
        /** Index in its sequence of the first block. */
        readonly startPosition: number;
      }
    | { readonly kind: 'removed'; readonly eventId: bigint; readonly blockHashes: BigUint64Array }
    /** A snapshot follows: nothing is there yet. */
    | { readonly kind: 'cleared'; readonly eventId: bigint }
    | { readonly kind: 'lost'; readonly count: number }
  );

/** What publishes a worker's cache needs of a manager: `KvPublisher` follows it. */
export interface BlockEventSource {
  readonly tier: Tier;
  readonly blockSize: number;
  /** The changes from now on; with `snapshot` first what is there. Leaving the loop ends it. */
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

export function eventStream(handle: Handle, tier: Tier): PullIterator<BlockEvent> {
  return new PullIterator(new PullStream(handle, 'blocks.events', { background: true }), ({ bytes }) =>
    eventFrom(bytes, tier),
  );
}
