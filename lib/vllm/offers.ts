import type { RegisteredBlocks } from '../kvbm/blocks.js';
import type { Notice } from './notices.js';
import type { VllmTransferParams } from './transfer-params.js';

/** How an offer ended: its reader has the blocks or does not need them, it was withdrawn, or its lease ended. */
export type OfferEnd = 'read' | 'withdrawn' | 'expired';

/** Blocks that a worker may read. They are neither evicted nor changed until it has ended. */
export interface VllmOffer {
  /** The value of `kv_transfer_params` for the request to the worker. */
  readonly params: VllmTransferParams;
  /** `whole`: the worker reads the KV of the whole prompt. `partial`: it computes the rest, and offers all of it. */
  readonly kind: 'whole' | 'partial';
  /** Tokens of the prompt whose KV is offered. */
  readonly tokens: number;
  readonly bytes: number;
  /** Resolves when it has ended. Never rejects. */
  readonly ended: Promise<OfferEnd>;
  /** Ends it. Only for a request that no worker has received: a worker may be reading. Idempotent. */
  withdraw(): void;
}

interface OpenOffer {
  readonly blocks: RegisteredBlocks;
  readonly settle: (end: OfferEnd) => void;
  timer: NodeJS.Timeout;
  endsAt: number;
  /** Readers that have notified. */
  reads: number;
}

/** A heartbeat extends a lease by this part of its duration, from now on. */
const EXTENSION = 2 / 3;

/** The offers of a store, with their leases. */
export class Offers {
  readonly #open = new Map<string, OpenOffer>();
  readonly #ends: Record<OfferEnd, number> = { read: 0, withdrawn: 0, expired: 0 };

  constructor(private readonly leaseMs: number) {}

  get size(): number {
    return this.#open.size;
  }

  /** How many offers ended in each way. */
  get ends(): Readonly<Record<OfferEnd, number>> {
    return { ...this.#ends };
  }

  /** Keeps blocks until the request of this id is read or its lease ends. */
  add(requestId: string, blocks: RegisteredBlocks): Promise<OfferEnd> {
    return new Promise((settle) => {
      this.#open.set(requestId, {
        blocks,
        settle,
        reads: 0,
        endsAt: performance.now() + this.leaseMs,
        timer: this.#timer(requestId, this.leaseMs),
      });
    });
  }

  #timer(requestId: string, ms: number): NodeJS.Timeout {
    return setTimeout(() => this.#expire(requestId), ms).unref();
  }

  #expire(requestId: string): void {
    const offer = this.#open.get(requestId);
    if (offer === undefined) return;
    const ms = this.leaseMs * EXTENSION;
    if (performance.now() - offer.endsAt <= ms / 4) return this.end(requestId, 'expired');
    // This process was paused, and heartbeats may wait in its queue.
    offer.endsAt = performance.now() + ms;
    offer.timer = this.#timer(requestId, ms);
  }

  /** Handles a message of a reader. One about an unknown request is ignored: its offer has ended. */
  notice(notice: Notice): void {
    if (notice.kind === 'heartbeat') for (const id of notice.requestIds) this.#extend(id);
    else {
      const offer = this.#open.get(notice.requestId);
      if (offer !== undefined && ++offer.reads >= notice.readers) this.end(notice.requestId, 'read');
    }
  }

  #extend(requestId: string): void {
    const offer = this.#open.get(requestId);
    if (offer === undefined) return;
    const ms = this.leaseMs * EXTENSION;
    const endsAt = performance.now() + ms;
    if (endsAt <= offer.endsAt) return;
    offer.endsAt = endsAt;
    clearTimeout(offer.timer);
    offer.timer = this.#timer(requestId, ms);
  }

  /** Ends an offer once. Later calls do nothing. */
  end(requestId: string, end: OfferEnd): void {
    const offer = this.#open.get(requestId);
    if (offer === undefined) return;
    this.#open.delete(requestId);
    clearTimeout(offer.timer);
    offer.blocks.dispose();
    this.#ends[end] += 1;
    offer.settle(end);
  }

  /** Ends every offer. */
  close(): void {
    for (const id of [...this.#open.keys()]) this.end(id, 'withdrawn');
  }
}
