import type { BatchCalls } from './batch-calls.js';

/** A batch of blocks, which a program may forget to dispose of. */
interface Batch {
  /** The batch that was added before this one, while both are young. */
  older: Batch | undefined;
  /** Whether blocks come back when the batch is garbage collected. */
  readonly isHeld: boolean;
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

/** Young batches among which ended ones are looked for, at least. */
const MIN_SEARCH = 1024;
/** At most this many batches wait for the end of the turn. */
const MAX_YOUNG = 16_384;

/**
 * Returns the blocks of batches that were garbage collected. A batch is only watched if it outlives a turn of the event
 * loop, because most batches do not, and watching costs as much as the native calls of a batch.
 *
 * Young batches are a linked list. An array would make each of them survive the next garbage collection, and most end
 * while they are the newest.
 */
export class ForgottenBatches {
  #newest: Batch | undefined;
  /** The number of young batches. */
  #count = 0;
  /** The number of young batches at which the ended ones are let go. */
  #search = MIN_SEARCH;
  #isScheduled = false;
  readonly #warned = { done: false };

  constructor(
    private readonly calls: BatchCalls,
    private readonly what: string,
  ) {}

  add(batch: Batch): void {
    batch.older = this.#newest;
    this.#newest = batch;
    if (++this.#count >= this.#search) this.#letEndedGo();
    if (!this.#isScheduled) this.#schedule();
  }

  /** The batch's blocks were disposed of or moved. */
  ended(batch: Batch): void {
    if (this.#newest !== batch) return;
    this.#newest = batch.older;
    batch.older = undefined;
    this.#count -= 1;
  }

  #schedule(): void {
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#watchAll();
    }).unref();
  }

  #letEndedGo(): void {
    let last: Batch | undefined;
    let held = 0;
    for (let batch = this.#newest; batch !== undefined; ) {
      const { older }: Batch = batch;
      batch.older = undefined;
      if (batch.isHeld) {
        if (last === undefined) this.#newest = batch;
        else last.older = batch;
        last = batch;
        held += 1;
      }
      batch = older;
    }
    if (last === undefined) this.#newest = undefined;
    this.#count = held;
    if (held > MAX_YOUNG / 2) this.#watchAll();
    else this.#search = Math.max(MIN_SEARCH, 2 * held);
  }

  #watchAll(): void {
    for (let batch = this.#newest; batch !== undefined; ) {
      const { older }: Batch = batch;
      batch.older = undefined;
      batch.watch();
      batch = older;
    }
    this.#newest = undefined;
    this.#count = 0;
    this.#search = MIN_SEARCH;
  }

  watch(batch: Batch, id: number): void {
    collected.register(batch, { id, calls: this.calls, warned: this.#warned, what: this.what }, batch);
  }

  unwatch(batch: Batch): void {
    collected.unregister(batch);
  }
}
