import { checkArray, checkInstanceId, checkInteger, checkObject, checkOneOf, checkU64, MAX_U32 } from '../check.js';
import { badArgument } from '../errors.js';
import { hashWords, words } from '../words.js';

/** Storage tiers of a block, with the crates' names. Source: `dynamo-kv-router` `protocols.rs` (`StorageTier`). */
export const STORAGE_TIERS = ['device', 'host_pinned', 'disk', 'external'] as const;
/**
 * Storage tier of a block: accelerator memory, host memory, disk, or outside the worker.
 * @useDeclaredType
 */
export type StorageTier = (typeof STORAGE_TIERS)[number];

interface EventBase {
  /** @default 'device' */
  readonly tier?: StorageTier;
  /** Number of the event, per publisher. @default assigned by a publisher, 0 for an index */
  readonly eventId?: number | bigint;
}

/** A worker now has these blocks, a run of one sequence. */
export interface StoredEvent extends EventBase {
  readonly kind: 'stored';
  /** The worker's names of the blocks, unique for each prefix: see `computeSequenceHashes`. */
  readonly blockHashes: BigUint64Array | readonly bigint[];
  /** Hash of only the tokens of each block: see `computeBlockHashes`. One for each of `blockHashes`. */
  readonly tokensHashes: BigUint64Array | readonly bigint[];
  /** Name of the block before the first one. @default none: the run begins a sequence */
  readonly parentHash?: bigint | null;
  /** Index of the first block in its sequence. */
  readonly startPosition?: number | null;
}

/** A worker no longer has these blocks. */
export interface RemovedEvent extends EventBase {
  readonly kind: 'removed';
  readonly blockHashes: BigUint64Array | readonly bigint[];
}

/** A rank of a worker no longer has any block. */
export interface ClearedEvent extends EventBase {
  readonly kind: 'cleared';
}

/** A change of a worker's KV cache. Source: `dynamo-kv-router` `protocols.rs` (`KvCacheEventData`). */
export type KvEvent = StoredEvent | RemovedEvent | ClearedEvent;

/** A change and its worker. */
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
const NO_HASHES = new BigUint64Array(0);

/** Writes the format of `native/core/src/router/words.rs`. Events of a publisher have no `workerId`. */
export function encodeEvents(path: string, events: readonly KvEvent[], numbered: boolean): BigUint64Array {
  checkArray(path, events, 'events');
  const runs = events.map((event, index) => {
    checkObject(`${path}[${index}]`, event);
    checkOneOf(`${path}[${index}].kind`, event.kind, KINDS);
    const hashes = event.kind === 'cleared' ? NO_HASHES : hashWords(`${path}[${index}].blockHashes`, event.blockHashes);
    const tokens =
      event.kind === 'stored' ? hashWords(`${path}[${index}].tokensHashes`, event.tokensHashes) : NO_HASHES;
    if (event.kind === 'stored' && tokens.length !== hashes.length) {
      throw badArgument(
        new RangeError(
          `${path}[${index}].tokensHashes: expected ${hashes.length} hashes, one per block, got ${tokens.length}`,
        ),
      );
    }
    return { hashes, tokens };
  });
  const encoded = new BigUint64Array(
    runs.reduce((sum, { hashes, tokens }) => sum + HEAD_WORDS + hashes.length + tokens.length, 0),
  );
  const halves = new Uint32Array(encoded.buffer);
  let at = 0;
  events.forEach((event, index) => {
    const { hashes, tokens } = runs[index] as (typeof runs)[number];
    encodeHead(`${path}[${index}]`, event, numbered, hashes.length, encoded, halves, at);
    encoded.set(hashes, at + HEAD_WORDS);
    encoded.set(tokens, at + HEAD_WORDS + hashes.length);
    at += HEAD_WORDS + hashes.length + tokens.length;
  });
  return encoded;
}

function encodeHead(
  path: string,
  event: KvEvent,
  numbered: boolean,
  count: number,
  encoded: BigUint64Array,
  halves: Uint32Array,
  at: number,
): void {
  const { workerId, dpRank = 0 } = event as Partial<RouterEvent>;
  if (workerId !== undefined) checkInstanceId(`${path}.workerId`, workerId);
  checkInteger(`${path}.dpRank`, dpRank, 0, MAX_U32);
  const tier = STORAGE_TIERS.indexOf(event.tier ?? 'device');
  if (tier < 0) checkOneOf(`${path}.tier`, event.tier, STORAGE_TIERS);
  let flags = numbered && event.eventId === undefined ? NUMBERED_BY_PUBLISHER : 0;
  encoded[at] = workerId ?? 0n;
  const { eventId = 0 } = event;
  if (typeof eventId === 'bigint') checkU64(`${path}.eventId`, eventId);
  else checkInteger(`${path}.eventId`, eventId, 0);
  encoded[at + 2] = BigInt(eventId);
  if (event.kind === 'stored') {
    if (event.parentHash != null) {
      checkU64(`${path}.parentHash`, event.parentHash);
      flags |= HAS_PARENT;
      encoded[at + 4] = event.parentHash;
    }
    if (event.startPosition != null) {
      checkInteger(`${path}.startPosition`, event.startPosition, 0, MAX_U32);
      flags |= HAS_POSITION;
      halves[2 * (at + 3) + 1] = event.startPosition;
    }
  }
  halves[2 * (at + 3)] = count;
  halves[2 * (at + 1)] = KINDS.indexOf(event.kind) | (tier << 8) | (flags << 16);
  halves[2 * (at + 1) + 1] = dpRank;
}

/** Reads the events of a dump. */
export function decodeEvents(bytes: Uint8Array | undefined): RouterEvent[] {
  const all = words(bytes);
  const halves = new Uint32Array(all.buffer, all.byteOffset, all.length * 2);
  const events: RouterEvent[] = [];
  for (let at = 0; at < all.length; ) {
    const packed = halves[2 * (at + 1)] as number;
    const kind = KINDS[packed & 0xff] as KvEvent['kind'];
    const flags = packed >>> 16;
    const count = halves[2 * (at + 3)] as number;
    const hashes = all.slice(at + HEAD_WORDS, at + HEAD_WORDS + count);
    const base = {
      workerId: all[at] as bigint,
      dpRank: halves[2 * (at + 1) + 1] as number,
      tier: STORAGE_TIERS[(packed >>> 8) & 0xff] as StorageTier,
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
