import { reasonOf } from '../addon/callback.js';
import { unpack } from '../addon/codec.js';
import { invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { NativeStream, StreamIterator } from '../addon/stream.js';
import type { Owner } from './owner.js';

/** A model card in discovery, as frontends compare it. Source: `native/core/src/llm/cards.rs`. */
export interface ModelCard {
  readonly instanceId: bigint;
  /** The LoRA adapter that the card describes, or empty. */
  readonly suffix: string;
  readonly model: string;
  /** A frontend serves only cards with equal checksums of one group. */
  readonly group: string;
  readonly checksum: string;
  /** What the checksum covers, in words. Files are named by their contents. */
  readonly fields: Readonly<Record<string, string>>;
}

type RawCard = Omit<ModelCard, 'instanceId'> & { instanceId: number | bigint };

type RawChange =
  | { type: 'Added'; card: RawCard }
  | { type: 'Removed'; instanceId: number | bigint; suffix: string }
  | { type: 'Resync'; cards: RawCard[] };

/**
 * Compares the block size of a router or publisher with that of model cards. The first difference is reported as a
 * warning `DYN_BLOCK_SIZE` of the process: hashes of blocks of another size are never equal.
 */
export function blockSizeCheck(what: string, blockSize: number): (cards: readonly ModelCard[]) => void {
  let isReported = false;
  const differs = ({ fields: { kvCacheBlockSize } }: ModelCard): boolean =>
    kvCacheBlockSize !== undefined && kvCacheBlockSize !== '0' && kvCacheBlockSize !== String(blockSize);
  return (cards) => {
    const card = isReported ? undefined : cards.find(differs);
    if (card === undefined) return;
    isReported = true;
    process.emitWarning(
      `${what} has blocks of ${blockSize} tokens, but the model card of worker ${card.instanceId} says ` +
        `${card.fields['kvCacheBlockSize']}: no prefix is found in blocks of another size. Use one block size`,
      { code: 'DYN_BLOCK_SIZE' },
    );
  };
}

const OPERATION = 'endpoint.watchCards';

const keyOf = ({ instanceId, suffix }: { instanceId: number | bigint; suffix: string }): string =>
  `${instanceId}/${suffix}`;

const cardFrom = (card: RawCard): ModelCard => ({ ...card, instanceId: BigInt(card.instanceId) });

/**
 * Calls `changed` with the model cards of an endpoint whenever they change, until the runtime closes. Does not keep the
 * process alive. Returns a function that ends it.
 */
export function watchCards(
  owner: Owner,
  endpoint: Handle<'endpoint'>,
  changed: (cards: readonly ModelCard[]) => void,
): () => void {
  const handle = invokeSync(native.endpointCards, OPERATION, { handle: endpoint });
  let forget = (): void => {};
  const changes = new StreamIterator(
    new NativeStream(handle, OPERATION, { background: true }),
    ({ bytes }) => unpack(bytes) as RawChange,
    () => forget(),
  );
  // Only some discovery backends end their watches with the runtime.
  forget = owner.onClose(() => void changes.return());
  follow(changes, changed).catch((error: unknown) =>
    process.emitWarning(`the model cards are no longer watched: ${reasonOf(error)}`, { code: 'DYN_SUBSCRIPTION_LOST' }),
  );
  return () => void changes.return();
}

async function follow(
  changes: AsyncIterable<RawChange>,
  changed: (cards: readonly ModelCard[]) => void,
): Promise<void> {
  const cards = new Map<string, ModelCard>();
  for await (const change of changes) {
    if (change.type === 'Added') cards.set(keyOf(change.card), cardFrom(change.card));
    else if (change.type === 'Removed') cards.delete(keyOf(change));
    else {
      cards.clear();
      for (const card of change.cards) cards.set(keyOf(card), cardFrom(card));
    }
    changed([...cards.values()]);
  }
}
