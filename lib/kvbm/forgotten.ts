import type { BatchCalls } from './batch-calls.js';

/** A batch of blocks, which a program may forget to dispose of. */
interface Batch {
  /** Registers the batch with `watch`, unless its blocks were disposed of or moved. */
  watch(): void;
}

interface Forgotten {
  readonly id: number;
  readonly calls: BatchCalls;
  readonly warned: { done: boolean };
  readonly what: string;
}

const collected = new FinalizationRegistry<Forgotten>(({ id, calls, warned, what }) => {
  if (!warned.done) {
    warned.done = true;
    process.emitWarning(`blocks of ${what} were collected without dispose(); they are returned now`, 'ResourceWarning');
  }
  try {
    calls.release(id);
  } catch {
    // The next call of the manager has the same failure, and a caller.
  }
});

/** More batches than this are examined before the end of the turn. */
const MAX_YOUNG = 1024;

/**
 * Returns the blocks of batches that were garbage collected. A batch is only watched if it outlives a turn of the event
 * loop, because most batches do not, and watching costs as much as the native calls of a batch.
 */
export class ForgottenBatches {
  #young: Batch[] = [];
  #isScheduled = false;
  readonly #warned = { done: false };

  constructor(
    private readonly calls: BatchCalls,
    private readonly what: string,
  ) {}

  add(batch: Batch): void {
    if (this.#young.push(batch) >= MAX_YOUNG) this.#examine();
    else if (!this.#isScheduled) {
      this.#isScheduled = true;
      setImmediate(() => {
        this.#isScheduled = false;
        this.#examine();
      }).unref();
    }
  }

  #examine(): void {
    const young = this.#young;
    this.#young = [];
    for (const batch of young) batch.watch();
  }

  watch(batch: Batch, id: number): void {
    collected.register(batch, { id, calls: this.calls, warned: this.#warned, what: this.what }, batch);
  }

  unwatch(batch: Batch): void {
    collected.unregister(batch);
  }
}
