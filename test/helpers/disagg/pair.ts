import { type BlockManager, type BlockManagerOptions, PagedSequence, type PreprocessedRequest } from 'dynamo-node';
import {
  type KvHandoff,
  KvOffers,
  type KvOffersOptions,
  KvReceiver,
  type KvReceiverOptions,
  type OfferEndpoint,
} from 'dynamo-node/disagg';
import { onTestFinished } from 'vitest';
import { blockSize, hostManager } from '../kvbm/blocks.js';
import { testRuntime } from '../runtime/runtime.js';

export const ENDPOINT = 'test.prefill.kv_offers';

/** A prefill worker's offers and a decode worker's receiver, without engines. */
export interface HandoffPair {
  readonly offers: KvOffers;
  readonly receiver: KvReceiver;
  readonly endpoint: OfferEndpoint;
}

export interface PairOptions {
  readonly offers?: Partial<KvOffersOptions>;
  readonly receiver?: Partial<KvReceiverOptions>;
  readonly source?: Partial<BlockManagerOptions>;
  readonly target?: Partial<BlockManagerOptions>;
}

/** A manager of plain host memory. */
export const poolOf = (options: Partial<BlockManagerOptions> = {}): BlockManager =>
  hostManager({ blockCount: 16, storage: { kind: 'memory' }, duplicates: 'reject', ...options });

export async function handoffPair(options: PairOptions = {}): Promise<HandoffPair> {
  const runtime = await testRuntime();
  const endpoint = runtime.endpoint(ENDPOINT) as OfferEndpoint;
  const common = { model: 'tiny', nixl: 'mock' } as const;
  const offers = await KvOffers.serve(poolOf(options.source), endpoint, { ...common, ...options.offers });
  onTestFinished(() => offers.close({ timeoutMs: 0 }));
  const receiver = await KvReceiver.connect(poolOf(options.target), endpoint, { ...common, ...options.receiver });
  onTestFinished(() => receiver.close());
  return { offers, receiver, endpoint };
}

export const promptOf = (tokens: number, seed = 0): number[] =>
  Array.from({ length: tokens }, (_, index) => seed * 1000 + index);

/** A request of a frontend, as far as a handoff reads it. */
export const requestOf = (tokens: readonly number[], more: Partial<PreprocessedRequest> = {}): PreprocessedRequest =>
  ({ model: 'tiny', token_ids: Uint32Array.from(tokens), ...more }) as PreprocessedRequest;

export const context = (signal: AbortSignal = new AbortController().signal): { signal: AbortSignal } => ({ signal });

/** The byte of a token's page: each block has its own. */
const byteOf = (prompt: readonly number[], page: number): number => ((prompt[page * blockSize] as number) + 7) % 251;

/** Opens a sequence, and fills its pages unless they are cached. */
export function computed(manager: BlockManager, prompt: readonly number[]): PagedSequence {
  const sequence = opened(manager, prompt);
  for (let page = sequence.committedPages; page < sequence.pageCount; page++)
    sequence.page(page).fill(byteOf(prompt, page));
  sequence.commit();
  return sequence;
}

/** Opens a sequence of which nothing is computed. */
export function opened(manager: BlockManager, prompt: readonly number[]): PagedSequence {
  const sequence = PagedSequence.create(manager, prompt);
  if (sequence === null) throw new Error('expected free blocks, got none');
  onTestFinished(() => sequence.dispose());
  return sequence;
}

/** Whether each page that has rows before the last token has the bytes of `computed`. */
export const hasBytes = (sequence: PagedSequence, prompt: readonly number[]): boolean[] =>
  Array.from({ length: Math.ceil((prompt.length - 1) / blockSize) }, (_, page) =>
    sequence.page(page).every((byte) => byte === byteOf(prompt, page)),
  );

/** Computes a prompt, and returns the `prefill_result` that the frontend would send to a decode worker. */
export function prefilled(
  { offers }: Pick<HandoffPair, 'offers'>,
  prompt: readonly number[],
  change: (handoff: KvHandoff) => object = (handoff) => handoff,
): PreprocessedRequest {
  using offer = offers.begin(requestOf(prompt), context());
  const { kv_handoff } = offer.publish(computed(offers.manager, prompt));
  const params = JSON.parse(JSON.stringify({ kv_handoff: change(kv_handoff) })) as unknown;
  return requestOf(prompt, { prefill_result: { disaggregated_params: params } });
}

/** The free blocks of both sides, and the present offers. */
export const freeBlocks = ({ offers, receiver }: HandoffPair): number[] => [
  offers.manager.available,
  receiver.manager.available,
  offers.size,
];
