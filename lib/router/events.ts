import { checkArray, checkInstanceId, checkInteger, checkObject, checkOneOf } from '../check.js';
import { hashWords, words } from '../words.js';

/** Where a block lies, in the crates' own names. Source: `dynamo-kv-router` `protocols.rs` (`StorageTier`). */
export const STORAGE_TIERS = ['device', 'host_pinned', 'disk', 'external'] as const;
/**
 * Where a block lies: the accelerator's memory, the host's, a disk, or outside the worker.
 * @useDeclaredType
 */
export type StorageTier = (typeof STORAGE_TIERS)[number];

interface EventBase {
  /** @default 'device' */
  readonly tier?: StorageTier;
  /** Counts a publisher's events. @default numbered by the publisher, 0 for an index */
  readonly eventId?: number | bigint;
}

/** Blocks that a worker has from now on: a run of one sequence. */
export interface StoredEvent extends EventBase {
  readonly kind: 'stored';
  /** The worker's own names of the blocks, unique over all prefixes: see `computeSequenceHashes`. */
  readonly blockHashes: BigUint64Array | readonly bigint[];
  /** Hash of each block's tokens alone: see `computeBlockHashes`. As many as `blockHashes`. */
  readonly tokensHashes: BigUint64Array | readonly bigint[];
  /** Name of the block before the first. @default none: the run begins a sequence */
  readonly parentHash?: bigint | null;
  /** Index in its sequence of the first block. */
  readonly startPosition?: number | null;
}

/** Blocks that a worker has no more. */
export interface RemovedEvent extends EventBase {
  readonly kind: 'removed';
  readonly blockHashes: BigUint64Array | readonly bigint[];
}

/** A worker's rank has no blocks any more. */
export interface ClearedEvent extends EventBase {
  readonly kind: 'cleared';
}

/** A change of a worker's KV cache. Source: `dynamo-kv-router` `protocols.rs` (`KvCacheEventData`). */
export type KvEvent = StoredEvent | RemovedEvent | ClearedEvent;

/** A change and whose it is. */
export type RouterEvent = KvEvent & {
  readonly workerId: bigint;
  /** @default 0 */
  readonly dpRank?: number;
};

const KINDS = ['stored', 'removed', 'cleared'] as const;
const HEAD_WORDS = 5;
const HAS_PARENT = 1;
const HAS_POSITION = 2;
const NUMBERED_BY_PUBLISHER = 4;
const NONE = new BigUint64Array(0);

/** As `native/core/src/router/words.rs` reads them. Without `workerId` events are a publisher's own. */
export function encodeEvents(path: string, events: readonly KvEvent[], numbered: boolean): BigUint64Array {
  checkArray(path, events, 'events');
  const runs = events.map((event, index) => {
    checkObject(`${path}[${index}]`, event);
    checkOneOf(`${path}[${index}].kind`, event.kind, KINDS);
    const hashes = event.kind === 'cleared' ? NONE : hashWords(`${path}[${index}].blockHashes`, event.blockHashes);
    const tokens = event.kind === 'stored' ? hashWords(`${path}[${index}].tokensHashes`, event.tokensHashes) : NONE;
    if (event.kind === 'stored' && tokens.length !== hashes.length) {
      throw new RangeError(
        `${path}[${index}].tokensHashes: expected ${hashes.length} hashes, as many as blockHashes, got ${tokens.length}`,
      );
    }
    return { hashes, tokens };
  });
  const out = new BigUint64Array(
    runs.reduce((sum, { hashes, tokens }) => sum + HEAD_WORDS + hashes.length + tokens.length, 0),
  );
  const halves = new Uint32Array(out.buffer);
  let at = 0;
  events.forEach((event, index) => {
    const { hashes, tokens } = runs[index] as (typeof runs)[number];
    head(`${path}[${index}]`, event, numbered, hashes.length, out, halves, at);
    out.set(hashes, at + HEAD_WORDS);
    out.set(tokens, at + HEAD_WORDS + hashes.length);
    at += HEAD_WORDS + hashes.length + tokens.length;
  });
  return out;
}

function head(
  path: string,
  event: KvEvent,
  numbered: boolean,
  count: number,
  out: BigUint64Array,
  halves: Uint32Array,
  at: number,
): void {
  const { workerId, dpRank = 0 } = event as Partial<RouterEvent>;
  if (workerId !== undefined) checkInstanceId(`${path}.workerId`, workerId);
  checkInteger(`${path}.dpRank`, dpRank, 0, 0xffff_ffff);
  const tier = STORAGE_TIERS.indexOf(event.tier ?? 'device');
  if (tier < 0) checkOneOf(`${path}.tier`, event.tier, STORAGE_TIERS);
  let flags = numbered && event.eventId === undefined ? NUMBERED_BY_PUBLISHER : 0;
  out[at] = workerId ?? 0n;
  out[at + 2] = BigInt(event.eventId ?? 0);
  if (event.kind === 'stored') {
    if (event.parentHash != null) {
      flags |= HAS_PARENT;
      out[at + 4] = event.parentHash;
    }
    if (event.startPosition != null) {
      checkInteger(`${path}.startPosition`, event.startPosition, 0, 0xffff_ffff);
      flags |= HAS_POSITION;
      halves[2 * (at + 3) + 1] = event.startPosition;
    }
  }
  halves[2 * (at + 3)] = count;
  halves[2 * (at + 1)] = KINDS.indexOf(event.kind) | (tier << 8) | (flags << 16);
  halves[2 * (at + 1) + 1] = dpRank;
}

/** The events of a dump. */
export function decodeEvents(bytes: Uint8Array | undefined): RouterEvent[] {
  const all = words(bytes);
  const halves = new Uint32Array(all.buffer, all.byteOffset, all.length * 2);
  const events: RouterEvent[] = [];
  for (let at = 0; at < all.length; ) {
    const first = halves[2 * (at + 1)] as number;
    const kind = KINDS[first & 0xff] as KvEvent['kind'];
    const flags = first >>> 16;
    const count = halves[2 * (at + 3)] as number;
    const hashes = all.slice(at + HEAD_WORDS, at + HEAD_WORDS + count);
    const base = {
      workerId: all[at] as bigint,
      dpRank: halves[2 * (at + 1) + 1] as number,
      tier: STORAGE_TIERS[(first >>> 8) & 0xff] as StorageTier,
      eventId: all[at + 2] as bigint,
    };
    if (kind === 'stored') {
      const tokensHashes = all.slice(at + HEAD_WORDS + count, at + HEAD_WORDS + 2 * count);
      const parentHash = (flags & HAS_PARENT) === 0 ? null : (all[at + 4] as bigint);
      const startPosition = (flags & HAS_POSITION) === 0 ? null : (halves[2 * (at + 3) + 1] as number);
      events.push({ ...base, kind, blockHashes: hashes, tokensHashes, parentHash, startPosition });
    } else if (kind === 'removed') events.push({ ...base, kind, blockHashes: hashes });
    else events.push({ ...base, kind: 'cleared' });
    at += HEAD_WORDS + count * (kind === 'stored' ? 2 : 1);
  }
  return events;
}
