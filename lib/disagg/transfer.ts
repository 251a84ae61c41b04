import { checkArray, checkInstance } from '../check.js';
import { ClosedError, DynamoError } from '../errors.js';
import { layoutText } from '../kvbm/layout.js';
import type { BlockManager } from '../kvbm/manager.js';
import { PagedSequence, type PageLease } from '../kvbm/paged.js';
import type { BlockRead } from '../kvbm/peer-blocks.js';
import { servedRequests } from '../llm/served-requests.js';
import type { Client } from '../runtime/client.js';
import { HandoffError, handoffError } from './errors.js';
import { checkHandoff, type KvHandoff, promptDigest, readHandoff } from './handoff.js';
import type { TransferMetrics } from './metrics.js';
import type { PrefillPeer, PrefillPeers } from './peers.js';
import { type OfferRequest, type OfferResponse, type OfferState, throwIfFailed } from './protocol.js';
import { type KvTransferReport, TRANSPORTS } from './report.js';

/** What the transfers of one receiver share. */
export interface TransferParts {
  readonly manager: BlockManager;
  readonly model: string;
  readonly client: Client<OfferRequest, OfferResponse>;
  readonly peers: PrefillPeers;
  readonly library: 'real' | 'mock';
  readonly timeoutMs: number;
  readonly waitMs: number;
  readonly metrics: TransferMetrics | undefined;
  readonly counts: { done: number; failed: number; abandoned: number; quarantined: number };
  /** Transfers that were not disposed of. */
  readonly open: Set<KvTransfer>;
  /** Work that the receiver's close waits for. */
  readonly background: Set<Promise<void>>;
}

/** Where a transfer finds its handoff: it has it already, or waits for it in a room of a prefill worker. */
export type HandoffSource = { readonly handoff: KvHandoff } | { readonly room: string; readonly instanceId: bigint };

const NOTHING: Promise<undefined> = Promise.resolve(undefined);

/** Heartbeats in the time of a lease. */
const BEATS_PER_LEASE = 3;

/**
 * The blocks of one request, which a prefill worker offers to this worker. Heartbeats keep the offer alive from the
 * start on, so that the request may wait for free blocks. Dispose of it at the end of the engine's generator: an offer
 * that was not read is released, after the last byte in flight.
 */
export class KvTransfer implements Disposable {
  /** Aborted when the transfer must end: by the request, the limit, a lost offer, or `dispose`. */
  readonly #stop = new AbortController();
  readonly #handoff: Promise<KvHandoff>;
  readonly #since = performance.now();
  #arrived: number | undefined;
  #beats: NodeJS.Timeout | undefined;
  #settled: Promise<void> = Promise.resolve();
  #state: 'open' | 'started' | 'ended' = 'open';
  /** Whether the prefill worker knows that the offer has ended. */
  #isReleased = false;

  /** @internal */
  constructor(
    private readonly parts: TransferParts,
    private readonly source: HandoffSource,
    private readonly signal: AbortSignal,
  ) {
    parts.open.add(this);
    if (signal.aborted) this.#onAbort();
    else signal.addEventListener('abort', this.#onAbort, { once: true });
    this.#handoff = 'handoff' in source ? this.#known(source.handoff) : this.#wait(source);
    this.#handoff.catch(() => {});
  }

  readonly #onAbort = (): void => this.#stop.abort(this.signal.reason);

  async #known(handoff: KvHandoff): Promise<KvHandoff> {
    this.#arrived = this.#since;
    this.#startBeats(handoff);
    this.parts.peers.prepare(BigInt(handoff.instance));
    return handoff;
  }

  async #wait({ room, instanceId }: Extract<HandoffSource, { room: string }>): Promise<KvHandoff> {
    const operation = 'receiver.accept';
    const { client, peers, waitMs } = this.parts;
    peers.prepare(instanceId);
    await peers.found(instanceId);
    const params = await client
      .unary({ op: 'wait', room }, { instanceId, timeoutMs: waitMs, signal: this.#stop.signal, parent: null })
      .catch((error: unknown) => {
        this.#stop.signal.throwIfAborted();
        if (DynamoError.is(error) && error.code === 'DYN_DEADLINE_EXCEEDED')
          throw new HandoffError('disagg.timeout', `no offer within ${waitMs} ms`, operation, error);
        throw handoffError(operation, `no offer from the prefill worker ${instanceId}`, error);
      });
    throwIfFailed(operation, params);
    const handoff = readHandoff(operation, params);
    if (handoff.instance !== String(instanceId))
      throw new HandoffError(
        'disagg.handoff',
        `handoff instance: expected ${instanceId}, got ${handoff.instance}`,
        operation,
      );
    this.#arrived = performance.now();
    this.#startBeats(handoff);
    return handoff;
  }

  #startBeats({ instance, offer, lease_ms }: KvHandoff): void {
    const { client } = this.parts;
    let isBeating = false;
    const beat = async (): Promise<void> => {
      if (isBeating) return;
      isBeating = true;
      try {
        const limits = { instanceId: BigInt(instance), timeoutMs: lease_ms, parent: null };
        const { held } = (await client.unary({ op: 'beat', offer }, limits)) as OfferState;
        if (!held && !this.#isReleased) this.#stop.abort(leaseLost('transfer.into'));
      } catch (error) {
        this.#stop.abort(handoffError('transfer.into', `no heartbeat to the prefill worker ${instance}`, error));
      } finally {
        isBeating = false;
      }
    };
    this.#beats = setInterval(() => void beat(), Math.max(1, lease_ms / BEATS_PER_LEASE)).unref();
  }

  /**
   * Reads the rows that the sequences lack into their pages, and commits them: all but the last token of the prompt,
   * which the model computes again for its logits. The blocks that a sequence has cached are not read. Waits for the
   * offer if prefill and decode have started together. Only once.
   *
   * After a failure the offer is released, and the sequences can only be disposed of: a byte in flight may still reach
   * their pages, which return to the manager after it.
   *
   * @param sequences one for each choice of the request, each with exactly the tokens of the prompt
   * @throws HandoffError
   * @throws the reason of the request's signal if it is aborted
   */
  async into(sequences: PagedSequence | readonly PagedSequence[]): Promise<KvTransferReport> {
    const operation = 'transfer.into';
    const all = sequences instanceof PagedSequence ? [sequences] : sequences;
    checkArray(`${operation} sequences`, all, 'paged sequences');
    all.forEach((one, index) => checkInstance(`${operation} sequences[${index}]`, one, PagedSequence));
    if (this.#state !== 'open') throw new ClosedError('the transfer', operation);
    this.#state = 'started';
    const { parts } = this;
    const start = performance.now();
    let timer: NodeJS.Timeout | undefined;
    try {
      const handoff = await this.#unlessStopped(this.#handoff);
      const begin = Math.max(start, this.#arrived ?? start);
      const late = new HandoffError('disagg.timeout', `not done within ${parts.timeoutMs} ms`, operation);
      timer = setTimeout(() => this.#stop.abort(late), parts.timeoutMs);
      for (const one of all) this.#check(operation, handoff, one);
      const moved = await this.#unlessStopped(
        parts.peers.with(
          operation,
          BigInt(handoff.instance),
          (peer) => this.#read(operation, peer, handoff, all),
          () => this.#settled,
        ),
      );
      const report: KvTransferReport = {
        prefillWorker: BigInt(handoff.instance),
        promptTokens: handoff.tokens,
        cachedTokens: all[0]?.cachedTokens ?? 0,
        ...moved,
        handoffMs: performance.now() - begin,
        waitMs: begin === start ? 0 : begin - start,
        library: parts.library,
      };
      parts.counts.done += 1;
      parts.metrics?.done(report);
      servedRequests.transferred({
        durationMs: report.handoffMs,
        waitMs: report.waitMs,
        bytes: report.bytes,
        blocks: report.blocks,
        from: handoff.instance,
        transport: TRANSPORTS[parts.library],
      });
      return report;
    } catch (error) {
      parts.counts.failed += 1;
      const isCancelled = this.signal.aborted && error === this.signal.reason;
      parts.metrics?.failed(error instanceof HandoffError ? error.reason : isCancelled ? 'cancelled' : 'other');
      this[Symbol.dispose]();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  #check(operation: string, handoff: KvHandoff, sequence: PagedSequence): void {
    const { manager, model, client } = this.parts;
    checkHandoff(operation, handoff, {
      endpoint: client.path,
      model,
      layout: layoutText(manager),
      prompt: promptDigest(sequence.tokens.tokens()),
      tokens: sequence.length,
      blockSize: manager.blockSize,
    });
  }

  async #read(
    operation: string,
    { blocks }: PrefillPeer,
    handoff: KvHandoff,
    sequences: readonly PagedSequence[],
  ): Promise<Pick<KvTransferReport, 'blocks' | 'bytes' | 'transferMs'>> {
    this.#stop.signal.throwIfAborted();
    const outside = handoff.blocks.find((id) => id >= blocks.length);
    if (outside !== undefined)
      throw new HandoffError(
        'disagg.blocks',
        `handoff blocks: expected ids below ${blocks.length}, got ${outside}`,
        operation,
      );
    const upTo = handoff.tokens - 1;
    const end = Math.ceil(upTo / this.parts.manager.blockSize);
    const leases: PageLease[] = [];
    const first = Math.min(end, ...sequences.map(({ committedPages }) => committedPages));
    let read: BlockRead | undefined;
    try {
      for (const sequence of sequences) if (sequence.committedPages < end) leases.push(sequence.lease(operation));
      const target = Uint32Array.from(leases.flatMap(({ first, ids }) => [...ids.subarray(0, end - first)]));
      const source = leases.flatMap(({ first }) => handoff.blocks.slice(first, end));
      if (source.length > 0) read = blocks.read(target, source);
    } catch (error) {
      for (const lease of leases) lease.release();
      throw error;
    }
    const count = leases.reduce((sum, { first }) => sum + end - first, 0);
    this.#hold(leases, count, read);
    const done = await this.#unlessStopped(read?.done ?? NOTHING).catch((error: unknown) => {
      this.#stop.signal.throwIfAborted();
      throw handoffError(operation, `the read from the prefill worker ${handoff.instance} failed`, error);
    });
    await this.#unlessStopped(this.#settled);
    await this.#confirm(operation, handoff, first, handoff.blocks.slice(first, end));
    for (const sequence of sequences) if (sequence.computedTokens < upTo) sequence.commit(upTo);
    return { blocks: count, bytes: done?.bytes ?? 0, transferMs: done?.durationMs ?? 0 };
  }

  /** Keeps the leased pages until no byte is in flight. */
  #hold(leases: readonly PageLease[], count: number, read: BlockRead | undefined): void {
    const { counts } = this.parts;
    counts.quarantined += count;
    this.#settled = (read?.settled ?? Promise.resolve(true)).then((known) => {
      // If the end will never be known, the pages are lost with the agent.
      if (!known) return;
      counts.quarantined -= count;
      for (const lease of leases) lease.release();
    });
  }

  /** Ends the offer, and learns whether it covered the whole read. */
  async #confirm(operation: string, handoff: KvHandoff, first: number, blocks: readonly number[]): Promise<void> {
    const { client, timeoutMs } = this.parts;
    const { instance, offer } = handoff;
    const limits = { instanceId: BigInt(instance), timeoutMs, parent: null };
    this.#isReleased = true;
    const released = client.unary({ op: 'release', offer, first, blocks }, limits);
    const state = await this.#unlessStopped(released).catch((error: unknown) => {
      this.#stop.signal.throwIfAborted();
      throw handoffError(operation, `the prefill worker ${instance} did not confirm the read`, error);
    });
    clearInterval(this.#beats);
    throwIfFailed(operation, state);
    if (!(state as OfferState).held) throw leaseLost(operation);
  }

  /** The result of `promise`. Rejects earlier if the transfer must end. */
  async #unlessStopped<T>(promise: Promise<T>): Promise<T> {
    const { signal } = this.#stop;
    signal.throwIfAborted();
    let onAbort = (): void => {};
    const stopped = new Promise<never>((_, reject) => {
      onAbort = () => reject(signal.reason);
      signal.addEventListener('abort', onAbort, { once: true });
    });
    try {
      return await Promise.race([promise, stopped]);
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** Releases an offer that was not read. Does not wait: the prefill worker may be lost. Idempotent. */
  [Symbol.dispose](): void {
    if (this.#state === 'ended') return;
    this.#state = 'ended';
    this.parts.open.delete(this);
    this.signal.removeEventListener('abort', this.#onAbort);
    this.#stop.abort(new ClosedError('the transfer', 'transfer.into'));
    const end = this.#end().catch(() => {});
    this.parts.background.add(end);
    void end.then(() => this.parts.background.delete(end));
  }

  async #end(): Promise<void> {
    const { client, counts } = this.parts;
    const handoff = await this.#handoff.catch(() => undefined);
    if (handoff === undefined) {
      if (!('room' in this.source)) return;
      const { room, instanceId } = this.source;
      await client.unary({ op: 'abandon', room }, { instanceId, timeoutMs: 5000, parent: null });
      return;
    }
    try {
      // Heartbeats continue until no byte is in flight, so that no block is freed under a read.
      await this.#settled;
      if (this.#isReleased) return;
      counts.abandoned += 1;
      const { instance, offer } = handoff;
      await client.unary({ op: 'release', offer }, { instanceId: BigInt(instance), timeoutMs: 5000, parent: null });
    } finally {
      clearInterval(this.#beats);
    }
  }
}

const leaseLost = (operation: string): HandoffError =>
  new HandoffError('disagg.lease_lost', 'the prefill worker no longer has the blocks', operation);
