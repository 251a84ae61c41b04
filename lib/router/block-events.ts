import { type BlockEvent, type BlockEventSource, EVENT_TIERS } from '../kvbm/events.js';
import type { KvEvent } from './events.js';

type BlockEventStream = ReturnType<BlockEventSource['events']>;

/** Forwards the block events of block managers to a publisher. */
export class BlockEventForwarder {
  readonly #streams = new Set<BlockEventStream>();
  readonly #hasOneSource: boolean;
  #closed = false;
  readonly #forwarding: Promise<void[]>;
  /** Rejects with the error that ended the forwarding. Pending otherwise. */
  readonly failed: Promise<never>;

  constructor(
    sources: readonly BlockEventSource[],
    private readonly publish: (events: readonly KvEvent[]) => void,
  ) {
    this.#hasOneSource = sources.length === 1;
    this.#forwarding = Promise.all(sources.map((source) => this.#forward(source)));
    this.failed = this.#forwarding.then(() => new Promise<never>(() => {}));
    this.failed.catch(() => {});
  }

  async #forward(source: BlockEventSource): Promise<void> {
    const stored = new Set<bigint>();
    try {
      // After lost events, the next stream begins with a snapshot.
      while (!this.#closed && (await this.#readStream(source, stored)) === 'lost');
    } finally {
      // A disposed manager has no blocks and emits no event for that. After an error the blocks are unknown.
      if (!this.#closed) this.#publishChange({ kind: 'cleared', tier: EVENT_TIERS[source.tier], eventId: 0n }, stored);
    }
  }

  async #readStream(source: BlockEventSource, stored: Set<bigint>): Promise<'lost' | 'ended'> {
    const stream = source.events({ snapshot: true });
    this.#streams.add(stream);
    try {
      for await (const event of stream) {
        // This event was read before the close; the publisher is closed now.
        if (this.#closed) return 'ended';
        if (event.kind === 'lost') return 'lost';
        this.#publishChange(event, stored);
      }
      return 'ended';
    } finally {
      this.#streams.delete(stream);
    }
  }

  /**
   * Routers drop the blocks of every tier when a rank is cleared. With several sources, the blocks of the cleared one
   * are therefore removed one by one.
   */
  #publishChange(event: Exclude<BlockEvent, { kind: 'lost' }>, stored: Set<bigint>): void {
    const { eventId: _, ...change } = event;
    if (this.#hasOneSource) return this.publish([change]);
    if (event.kind === 'stored') for (const hash of event.blockHashes) stored.add(hash);
    if (event.kind === 'removed') for (const hash of event.blockHashes) stored.delete(hash);
    if (event.kind !== 'cleared') return this.publish([change]);
    if (stored.size > 0)
      this.publish([{ kind: 'removed', tier: event.tier, blockHashes: BigUint64Array.from(stored) }]);
    stored.clear();
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#streams].map((stream) => stream.return?.()));
    await this.#forwarding.catch(() => {});
  }
}
