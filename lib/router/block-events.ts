import { type BlockEvent, type BlockEventSource, EVENT_TIERS } from '../kvbm/events.js';
import type { KvEvent } from './events.js';

type Stream = ReturnType<BlockEventSource['events']>;

/** Passes on what block managers tell of their blocks. */
export class Following {
  readonly #streams = new Set<Stream>();
  readonly #alone: boolean;
  #ended = false;
  readonly #all: Promise<void[]>;
  readonly failed: Promise<never>;

  constructor(
    sources: readonly BlockEventSource[],
    private readonly publish: (events: readonly KvEvent[]) => void,
  ) {
    this.#alone = sources.length === 1;
    this.#all = Promise.all(sources.map((source) => this.#follow(source)));
    this.failed = this.#all.then(() => new Promise<never>(() => {}));
    this.failed.catch(() => {});
  }

  async #follow(source: BlockEventSource): Promise<void> {
    const held = new Set<bigint>();
    try {
      // Where the source told more than was read, a snapshot begins anew.
      while (!this.#ended && (await this.#read(source, held)) === 'lost');
    } finally {
      // Disposed of it has nothing any more and does not say so; and of what cannot be read nobody tells any more.
      if (!this.#ended) this.#pass({ kind: 'cleared', tier: EVENT_TIERS[source.tier], eventId: 0n }, held);
    }
  }

  async #read(source: BlockEventSource, held: Set<bigint>): Promise<'lost' | 'over'> {
    const stream = source.events({ snapshot: true });
    this.#streams.add(stream);
    try {
      for await (const event of stream) {
        // Read before the end, which nobody is told of any more.
        if (this.#ended) return 'over';
        if (event.kind === 'lost') return 'lost';
        this.#pass(event, held);
      }
      return 'over';
    } finally {
      this.#streams.delete(stream);
    }
  }

  /** A cleared rank has nothing in any tier: beside other managers only what this one held goes. */
  #pass(event: Exclude<BlockEvent, { kind: 'lost' }>, held: Set<bigint>): void {
    const { eventId: _, ...rest } = event;
    if (this.#alone) return this.publish([rest]);
    if (event.kind === 'stored') for (const hash of event.blockHashes) held.add(hash);
    if (event.kind === 'removed') for (const hash of event.blockHashes) held.delete(hash);
    if (event.kind !== 'cleared') return this.publish([rest]);
    if (held.size > 0) this.publish([{ kind: 'removed', tier: event.tier, blockHashes: BigUint64Array.from(held) }]);
    held.clear();
  }

  async end(): Promise<void> {
    this.#ended = true;
    await Promise.all([...this.#streams].map((stream) => stream.return?.()));
    await this.#all.catch(() => {});
  }
}
