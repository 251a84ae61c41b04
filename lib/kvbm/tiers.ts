import { checkInteger, checkNumber, checkOptions, wrongType } from '../check.js';
import { ClosedError } from '../errors.js';
import { checkBlocks, RegisteredBlocks } from './blocks.js';
import { BlockLayoutError } from './errors.js';
import type { Tier } from './events.js';
import type { LineageHashes } from './hashes.js';
import { layoutText } from './layout.js';
import { BlockManager } from './manager.js';
import { carrierOf } from './nixl-copy.js';
import type { TokenSequence } from './sequence.js';

/** Which blocks go down, and when. */
export interface BlockTiersOptions {
  /** Passes over what the lower tier has. @default true */
  readonly presence?: boolean;
  /** Passes over what was used less often lately: 0 to 15; needs a registry with `frequency`. @default 0 */
  readonly minFrequency?: number;
  /**
   * With these `enqueue` waits until less than `low` of the upper tier is empty; then blocks go down, the first enqueued
   * first, and are emptied above once nobody holds them, until `high` is empty. Parts of 1. `enqueue` and `flush` look at the
   * marks; an allocation does not: where it takes the upper tier below `low`, the next of these sees it. @default blocks go
   * down at once and stay above
   */
  readonly watermarks?: { readonly low: number; readonly high: number };
  /** Blocks of one copy. @default 32 */
  readonly batchBlocks?: number;
  /** Blocks that may wait; the oldest are forgotten beyond. @default 65536 */
  readonly queueBlocks?: number;
}

/** Counts of blocks, since the beginning; `queued` now. */
export interface BlockTiersStatistics {
  readonly offloaded: number;
  readonly onboarded: number;
  /** Passed over: there already, used too seldom, evicted before their turn, or without room below. */
  readonly present: number;
  readonly infrequent: number;
  readonly gone: number;
  readonly exhausted: number;
  /** Forgotten because too many waited. */
  readonly forgotten: number;
  readonly queued: number;
}

const DEPTH: Record<Tier, number> = { device: 0, host: 1, disk: 2 };

const KNOWN = ['presence', 'minFrequency', 'watermarks', 'batchBlocks', 'queueBlocks'];

/**
 * Moves blocks between two tiers: `offload` copies registered blocks down, `onboard` brings a prefix up again. The blocks
 * are held for as long as they are copied.
 *
 * @example
 * await using tiers = new BlockTiers(host, disk, { minFrequency: 2 });
 * tiers.enqueue(registered);
 * using cached = await tiers.onboard(sequence);
 */
export class BlockTiers implements AsyncDisposable {
  readonly #options: Required<Omit<BlockTiersOptions, 'watermarks'>> & Pick<BlockTiersOptions, 'watermarks'>;
  readonly #counts = { offloaded: 0, onboarded: 0, present: 0, infrequent: 0, gone: 0, exhausted: 0, forgotten: 0 };
  #queue: LineageHashes[] = [];
  #queued = 0;
  #pumping: Promise<void> | undefined;
  #again = false;
  #failure: unknown;
  #closed = false;

  /**
   * @throws BlockLayoutError where the tiers' layouts differ
   * @throws TypeError where the lower tier is none below, or bytes have no way between them
   */
  constructor(
    readonly upper: BlockManager,
    readonly lower: BlockManager,
    options: BlockTiersOptions = {},
  ) {
    const path = 'BlockTiers options';
    for (const [name, manager] of Object.entries({ upper, lower })) {
      if (!(manager instanceof BlockManager)) wrongType(`BlockTiers ${name}`, 'a BlockManager', manager);
    }
    checkOptions(path, options, KNOWN);
    const { presence = true, minFrequency = 0, watermarks, batchBlocks = 32, queueBlocks = 65536 } = options;
    checkInteger(`${path}.minFrequency`, minFrequency, 0, 15);
    checkInteger(`${path}.batchBlocks`, batchBlocks, 1);
    checkInteger(`${path}.queueBlocks`, queueBlocks, 1);
    if (watermarks !== undefined) {
      checkOptions(`${path}.watermarks`, watermarks, ['low', 'high']);
      checkNumber(`${path}.watermarks.low`, watermarks.low);
      checkNumber(`${path}.watermarks.high`, watermarks.high);
      if (!(watermarks.low >= 0 && watermarks.low <= watermarks.high && watermarks.high <= 1)) {
        throw new RangeError(
          `${path}.watermarks: expected 0 <= low <= high <= 1, got ${watermarks.low} and ${watermarks.high}`,
        );
      }
    }
    if (DEPTH[upper.tier] >= DEPTH[lower.tier])
      throw new TypeError(
        `BlockTiers lower: expected a tier below ${upper.tier} (device, host, disk), got ${lower.tier}`,
      );
    const layouts = [upper, lower].map(layoutText);
    if (layouts[0] !== layouts[1])
      throw new BlockLayoutError(`BlockTiers: expected equal layouts, got ${layouts.join(' and ')}`, 'BlockTiers');
    carrierOf('BlockTiers', upper, lower);
    this.#options = { presence, minFrequency, watermarks, batchBlocks, queueBlocks };
  }

  /** Copies the blocks that the policies let through to the lower tier, where they can be found from then on. Gives how many. */
  async offload(blocks: RegisteredBlocks): Promise<number> {
    const operation = 'tiers.offload';
    checkBlocks(`${operation} blocks`, blocks, RegisteredBlocks);
    this.#open(operation);
    using held = blocks.clone();
    return await this.#down(held);
  }

  async #down(held: RegisteredBlocks): Promise<number> {
    using wanted = this.#select(held);
    if (wanted === undefined) return 0;
    using target = this.lower.allocate(wanted.length);
    if (target === null) {
      this.#counts.exhausted += wanted.length;
      return 0;
    }
    await this.lower.copy(wanted, target);
    target.stageAs(wanted).register().dispose();
    this.#counts.offloaded += wanted.length;
    return wanted.length;
  }

  /** Those of the blocks that the policies let through, held. */
  #select(held: RegisteredBlocks): RegisteredBlocks | undefined {
    const { presence, minFrequency } = this.#options;
    const names = held.hashes();
    const present = presence ? this.lower.registry.presence(names, [this.lower.tier]) : undefined;
    const frequency = minFrequency > 0 ? this.upper.registry.frequency(names) : undefined;
    let wanted: RegisteredBlocks | undefined;
    let start = 0;
    const take = (end: number): void => {
      if (end > start) {
        const run = held.clone(start, end);
        if (wanted === undefined) wanted = run;
        else wanted.join(run);
      }
      start = end + 1;
    };
    for (let index = 0; index < held.length; index++) {
      const infrequent = frequency !== undefined && (frequency[index] as number) < minFrequency;
      if (present?.[index] === 1) this.#counts.present += 1;
      else if (infrequent) this.#counts.infrequent += 1;
      else continue;
      take(index);
    }
    take(held.length);
    return wanted;
  }

  /**
   * Gives the longest run of blocks that is in either tier, from block `first` on, brought up where it is below alone. They
   * are held. Undefined where none is there; where the upper tier has no room for those below, those above alone.
   */
  async onboard(names: TokenSequence | LineageHashes, first = 0): Promise<RegisteredBlocks | undefined> {
    this.#open('tiers.onboard');
    using above = this.upper.matchPrefix(names, first);
    const up = await this.#up(names, first + (above?.length ?? 0));
    if (above === undefined) return up;
    const all = above.clone();
    if (up !== undefined) all.join(up);
    return all;
  }

  async #up(names: TokenSequence | LineageHashes, first: number): Promise<RegisteredBlocks | undefined> {
    using found = this.lower.matchPrefix(names, first);
    if (found === undefined) return undefined;
    using target = this.upper.allocate(found.length);
    if (target === null) {
      this.#counts.exhausted += found.length;
      return undefined;
    }
    await this.upper.copy(found, target);
    this.#counts.onboarded += found.length;
    return target.stageAs(found).register();
  }

  /** Lets blocks go down in the background, in the order of their enqueuing; does not hold them until it is their turn. */
  enqueue(blocks: RegisteredBlocks): void {
    const operation = 'tiers.enqueue';
    checkBlocks(`${operation} blocks`, blocks, RegisteredBlocks);
    this.#open(operation);
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

  #open(operation: string): void {
    if (this.#closed) throw new ClosedError('the block tiers', operation);
  }

  #start(): void {
    this.#again = true;
    this.#pumping ??= this.#run();
  }

  /** A pump that has decided already does not know of what came since, so that another follows it. */
  async #run(): Promise<void> {
    while (this.#again) {
      this.#again = false;
      await this.#pump().catch((error: unknown) => {
        this.#failure ??= error;
      });
    }
    this.#pumping = undefined;
  }

  #emptyPart(): number {
    return this.upper.statistics().empty / this.upper.blockCount;
  }

  async #pump(): Promise<void> {
    const { watermarks } = this.#options;
    if (watermarks !== undefined && this.#emptyPart() >= watermarks.low) return;
    while (this.#queue.length > 0 && !this.#closed) {
      if (watermarks !== undefined && this.#emptyPart() >= watermarks.high) return;
      const names = this.#take();
      using found = this.upper.scan(names);
      this.#counts.gone += names.length - (found.blocks?.length ?? 0);
      if (found.blocks === undefined) continue;
      await this.#down(found.blocks);
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

  /** Only what is below may go above. */
  #demote(blocks: RegisteredBlocks): void {
    const present = this.lower.registry.presence(blocks.hashes(), [this.lower.tier]);
    for (let index = 0; index < blocks.length; index++) {
      if (present[index] !== 1) continue;
      using one = blocks.clone(index, index + 1);
      one.resetOnRelease(true);
    }
  }

  /** Waits until nothing is under way and nothing that may go down waits; throws what failed meanwhile, once. */
  async flush(): Promise<void> {
    this.#start();
    while (this.#pumping !== undefined) await this.#pumping;
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw failure;
  }

  /** What moved, and what was passed over. */
  statistics(): BlockTiersStatistics {
    return { ...this.#counts, queued: this.#queued };
  }

  /** Forgets what waits and ends what is under way; nothing moves any more. Idempotent. */
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
