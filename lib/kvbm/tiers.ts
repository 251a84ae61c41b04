import { wrongType } from '../check.js';
import { badArgument, ClosedError, failureFrom } from '../errors.js';
import { boolean, custom, integer, number, type OptionTable, optionTable } from '../options.js';
import { checkBlocks } from './batch.js';
import { RegisteredBlocks } from './blocks.js';
import { BlockLayoutError } from './errors.js';
import type { Tier } from './events.js';
import type { LineageHashes } from './hashes.js';
import { layoutText } from './layout.js';
import { BlockManager } from './manager.js';
import { agentBetween } from './nixl-copy.js';
import type { TokenSequence } from './sequence.js';

/** Which blocks move to the lower tier, and when. */
export interface BlockTiersOptions {
  /** Skips blocks that the lower tier already has. @default true */
  readonly presence?: boolean;
  /** Skips blocks that were used less often recently: 0 to 15. Needs a registry with `frequency`. @default 0 */
  readonly minFrequency?: number;
  /**
   * Offloads by the empty fraction of the upper tier. Offloading starts below `low` and ends at `high`; both are from 0
   * to 1. The block that was enqueued first moves first, and is emptied above after its last release.
   *
   * `enqueue` and `flush` compare the fraction with `low`. An allocation does not, so the next of these calls sees it.
   *
   * @default blocks move at once, and also stay in the upper tier
   */
  readonly watermarks?: { readonly low: number; readonly high: number };
  /** Blocks per copy. @default 32 */
  readonly batchBlocks?: number;
  /** Capacity of the queue in blocks. The oldest are dropped when it is full. @default 65536 */
  readonly queueBlocks?: number;
}

type Watermarks = NonNullable<BlockTiersOptions['watermarks']>;

const WATERMARKS_OPTIONS: OptionTable<Watermarks> = optionTable<Watermarks>({
  low: number(0, 1).required(),
  high: number(0, 1).required(),
});

const TIERS_OPTIONS: OptionTable<BlockTiersOptions> = optionTable<BlockTiersOptions>({
  presence: boolean,
  minFrequency: integer(0, 15),
  watermarks: custom<Watermarks>('two fractions, low and high', (path, value) => {
    WATERMARKS_OPTIONS.check(path, value);
    if (value.low > value.high)
      throw badArgument(new RangeError(`${path}: expected 0 <= low <= high <= 1, got ${value.low} and ${value.high}`));
  }),
  batchBlocks: integer(1),
  queueBlocks: integer(1),
});

/** Counts of blocks since the start; `queued` is the present count. */
export interface BlockTiersStatistics {
  readonly offloaded: number;
  readonly onboarded: number;
  /** Skipped: the lower tier already had the block. */
  readonly present: number;
  /** Skipped: used less often than `minFrequency`. */
  readonly infrequent: number;
  /** Skipped: evicted before its turn. */
  readonly gone: number;
  /** Not copied: the target tier was full. */
  readonly exhausted: number;
  /** Not moved in the background, because of an error. The first since the last `flush` is also a process warning. */
  readonly failed: number;
  /** Dropped because the queue was full. */
  readonly forgotten: number;
  readonly queued: number;
}

const DEPTH: Record<Tier, number> = { device: 0, host: 1, disk: 2 };

/**
 * Moves blocks between two tiers: `offload` copies registered blocks to the lower tier, `onboard` copies a prefix back
 * to the upper tier. Blocks are not evicted while they are copied.
 *
 * @example
 * await using tiers = new BlockTiers(host, disk, { minFrequency: 2 });
 * tiers.enqueue(registered);
 * using cached = await tiers.onboard(sequence);
 */
export class BlockTiers implements AsyncDisposable {
  readonly #options: Required<Omit<BlockTiersOptions, 'watermarks'>> & Pick<BlockTiersOptions, 'watermarks'>;
  readonly #counts = {
    offloaded: 0,
    onboarded: 0,
    present: 0,
    infrequent: 0,
    gone: 0,
    exhausted: 0,
    failed: 0,
    forgotten: 0,
  };
  #queue: LineageHashes[] = [];
  #queued = 0;
  #pumping: Promise<void> | undefined;
  #again = false;
  #failure: unknown;
  #closed = false;

  /**
   * @throws BlockLayoutError if the tiers' layouts differ
   * @throws TypeError if `lower` is not below `upper`, or no copy between them is possible
   */
  constructor(
    readonly upper: BlockManager,
    readonly lower: BlockManager,
    options: BlockTiersOptions = {},
  ) {
    for (const [name, manager] of Object.entries({ upper, lower })) {
      if (!(manager instanceof BlockManager)) wrongType(`BlockTiers ${name}`, 'a BlockManager', manager);
    }
    TIERS_OPTIONS.check('BlockTiers options', options);
    const { presence = true, minFrequency = 0, watermarks, batchBlocks = 32, queueBlocks = 65536 } = options;
    if (DEPTH[upper.tier] >= DEPTH[lower.tier])
      throw badArgument(
        new TypeError(`BlockTiers lower: expected a tier below ${upper.tier} (device, host, disk), got ${lower.tier}`),
      );
    const layouts = [upper, lower].map(layoutText);
    if (layouts[0] !== layouts[1])
      throw new BlockLayoutError(`BlockTiers: expected equal layouts, got ${layouts.join(' and ')}`, 'BlockTiers');
    agentBetween('BlockTiers', upper.core, lower.core);
    this.#options = { presence, minFrequency, watermarks, batchBlocks, queueBlocks };
  }

  /** Copies the blocks that the options select to the lower tier, and registers them there. Returns their number. */
  async offload(blocks: RegisteredBlocks): Promise<number> {
    const operation = 'tiers.offload';
    checkBlocks(`${operation} blocks`, blocks, RegisteredBlocks);
    this.#assertOpen(operation);
    using source = blocks.clone();
    return await this.#offload(source);
  }

  async #offload(source: RegisteredBlocks): Promise<number> {
    using wanted = this.#select(source);
    if (wanted === undefined) return 0;
    using target = this.lower.allocate(wanted.length);
    if (target === null) {
      this.#counts.exhausted += wanted.length;
      return 0;
    }
    await this.lower.copy(wanted, target);
    using staged = target.stageAs(wanted);
    staged.register().dispose();
    this.#counts.offloaded += wanted.length;
    return wanted.length;
  }

  /** References to those of the blocks that the options select. */
  #select(blocks: RegisteredBlocks): RegisteredBlocks | undefined {
    const { presence, minFrequency } = this.#options;
    const names = blocks.hashes();
    const present = presence ? this.lower.registry.presence(names, [this.lower.tier]) : undefined;
    const frequency = minFrequency > 0 ? this.upper.registry.frequency(names) : undefined;
    let wanted: RegisteredBlocks | undefined;
    let start = 0;
    const take = (end: number): void => {
      if (end > start) {
        const run = blocks.clone(start, end);
        if (wanted === undefined) wanted = run;
        else wanted.join(run);
      }
      start = end + 1;
    };
    for (let index = 0; index < blocks.length; index++) {
      const infrequent = frequency !== undefined && (frequency[index] as number) < minFrequency;
      if (present?.[index] === 1) this.#counts.present += 1;
      else if (infrequent) this.#counts.infrequent += 1;
      else continue;
      take(index);
    }
    take(blocks.length);
    return wanted;
  }

  /**
   * References to the longest run of blocks that either tier has, from block `first` on. Blocks that only the lower
   * tier has are copied to the upper tier; if it is full, the result ends before them. Undefined if no block is found.
   */
  async onboard(names: TokenSequence | LineageHashes, first = 0): Promise<RegisteredBlocks | undefined> {
    this.#assertOpen('tiers.onboard');
    using above = this.upper.matchPrefix(names, first);
    const up = await this.#onboard(names, first + (above?.length ?? 0));
    if (above === undefined) return up;
    let all: RegisteredBlocks | undefined;
    try {
      all = above.clone();
      if (up !== undefined) all.join(up);
      return all;
    } catch (error) {
      all?.dispose();
      up?.dispose();
      throw error;
    }
  }

  async #onboard(names: TokenSequence | LineageHashes, first: number): Promise<RegisteredBlocks | undefined> {
    using found = this.lower.matchPrefix(names, first);
    if (found === undefined) return undefined;
    using target = this.upper.allocate(found.length);
    if (target === null) {
      this.#counts.exhausted += found.length;
      return undefined;
    }
    await this.upper.copy(found, target);
    this.#counts.onboarded += found.length;
    using staged = target.stageAs(found);
    return staged.register();
  }

  /** Offloads blocks in the background, in the order of the calls. Blocks may be evicted before their turn. */
  enqueue(blocks: RegisteredBlocks): void {
    const operation = 'tiers.enqueue';
    checkBlocks(`${operation} blocks`, blocks, RegisteredBlocks);
    this.#assertOpen(operation);
    const names = blocks.hashes();
    this.#queue.push(names);
    this.#queued += names.length;
    while (this.#queued > this.#options.queueBlocks && this.#queue.length > 1) {
      const forgotten = (this.#queue.shift() as LineageHashes).length;
      this.#queued -= forgotten;
      this.#counts.forgotten += forgotten;
    }
    this.#start();
  }

  #assertOpen(operation: string): void {
    if (this.#closed) throw new ClosedError('the block tiers', operation);
  }

  #start(): void {
    this.#again = true;
    this.#pumping ??= this.#run();
  }

  /** A pump may decide to end just before a call of `enqueue`. `#again` then starts another. */
  async #run(): Promise<void> {
    while (this.#again) {
      this.#again = false;
      await this.#pump().catch((error: unknown) => this.#report(error));
    }
    this.#pumping = undefined;
  }

  /** `flush` throws the first error. A program that never calls it sees the warning. */
  #report(error: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    const { message } = failureFrom(error);
    const what = `blocks could not be moved from ${this.upper.tier} to ${this.lower.tier}`;
    process.emitWarning(`${what}: ${message}`, { code: 'DYN_BLOCK_TIERS' });
  }

  #emptyFraction(): number {
    return this.upper.statistics().empty / this.upper.blockCount;
  }

  async #pump(): Promise<void> {
    const { watermarks } = this.#options;
    if (watermarks !== undefined && this.#emptyFraction() >= watermarks.low) return;
    while (this.#queue.length > 0 && !this.#closed) {
      if (watermarks !== undefined && this.#emptyFraction() >= watermarks.high) return;
      const names = this.#take();
      using found = this.upper.scan(names);
      this.#counts.gone += names.length - (found.blocks?.length ?? 0);
      if (found.blocks === undefined) continue;
      await this.#offload(found.blocks).catch((error: unknown) => {
        this.#counts.failed += found.blocks?.length ?? 0;
        throw error;
      });
      if (watermarks !== undefined) this.#demote(found.blocks);
    }
  }

  #take(): LineageHashes {
    const names = this.#queue[0] as LineageHashes;
    const count = Math.min(names.length, this.#options.batchBlocks);
    if (count === names.length) this.#queue.shift();
    else this.#queue[0] = names.slice(count);
    this.#queued -= count;
    return names.slice(0, count);
  }

  /** Lets the last release empty the blocks above that the lower tier has. */
  #demote(blocks: RegisteredBlocks): void {
    const present = this.lower.registry.presence(blocks.hashes(), [this.lower.tier]);
    for (let index = 0; index < blocks.length; index++) {
      if (present[index] !== 1) continue;
      using one = blocks.clone(index, index + 1);
      one.resetOnRelease(true);
    }
  }

  /** Waits until the queue has nothing more to offload. Throws the first error since the last `flush`. */
  async flush(): Promise<void> {
    this.#start();
    while (this.#pumping !== undefined) await this.#pumping;
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw failure;
  }

  /** Counts of moved and skipped blocks. */
  statistics(): BlockTiersStatistics {
    return { ...this.#counts, queued: this.#queued };
  }

  /** Drops the queue and waits for the copy in flight. No block moves after that. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#queue = [];
    this.#queued = 0;
    await this.#pumping;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
