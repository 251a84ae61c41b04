import type { Eviction } from 'dynamo-node';

/** A model of a block manager in plain TypeScript: the state of each block, and the order of eviction. */

export interface BlockModelOptions {
  readonly resetOnRelease?: boolean;
  /** How often a block was used, for `multi-lru`. The count is approximate, so the registry provides it. */
  readonly uses?: (name: bigint) => number;
}

/** A registered block with its references, as the crates count them. */
export interface Registered {
  readonly id: number;
  readonly name: bigint;
  refs: number;
  /** For a duplicate: the first block of its name, which it keeps alive. */
  readonly primary: Registered | undefined;
}

const POSITION_BITS: readonly [bigint, bigint][] = [
  [8n, 54n],
  [16n, 46n],
  [24n, 38n],
];

function layout(name: bigint): { position: bigint; parent: bigint; current: bigint; parentBits: bigint } {
  const [positionBits, parentBits] = POSITION_BITS[Number(name >> 126n)] as [bigint, bigint];
  return {
    position: (name >> (64n + parentBits)) & ((1n << positionBits) - 1n),
    current: (name >> parentBits) & ((1n << 64n) - 1n),
    parent: name & ((1n << parentBits) - 1n),
    parentBits,
  };
}

function isChild(child: bigint, parent: bigint): boolean {
  const [lower, upper] = [layout(child), layout(parent)];
  return lower.position === upper.position + 1n && lower.parent === (upper.current & ((1n << lower.parentBits) - 1n));
}

/** The inactive blocks and the order in which they are evicted. */
class Inactive {
  /** Ids by name, in the order in which the blocks became inactive. */
  readonly blocks = new Map<bigint, number>();
  /** Leaves in the order in which they became leaves. */
  #leaves: bigint[] = [];
  /** For `multi-lru`: by name, the level of use when the block became inactive. */
  readonly #levels = new Map<bigint, number>();

  constructor(
    readonly policy: Eviction,
    private readonly uses: (name: bigint) => number,
  ) {}

  #children(name: bigint): bigint[] {
    return [...this.blocks.keys()].filter((other) => isChild(other, name));
  }

  #parent(name: bigint): bigint | undefined {
    return [...this.blocks.keys()].find((other) => isChild(name, other));
  }

  add(name: bigint, id: number): void {
    this.blocks.set(name, id);
    if (typeof this.policy === 'object')
      this.#levels.set(name, this.policy.thresholds.filter((threshold) => this.uses(name) >= threshold).length);
    const parent = this.#parent(name);
    this.#leaves = this.#leaves.filter((leaf) => leaf !== parent);
    if (this.#children(name).length === 0) this.#leaves.push(name);
  }

  remove(name: bigint): number | undefined {
    const id = this.blocks.get(name);
    if (id === undefined) return undefined;
    const parent = this.#parent(name);
    this.blocks.delete(name);
    this.#leaves = this.#leaves.filter((leaf) => leaf !== name);
    if (parent !== undefined && this.#children(parent).length === 0) this.#leaves.push(parent);
    return id;
  }

  evict(): [bigint, number] {
    const names = [...this.blocks.keys()];
    const leastUsed = (): bigint | undefined => {
      const level = Math.min(...names.map((one) => this.#levels.get(one) as number));
      return names.find((one) => this.#levels.get(one) === level);
    };
    const name = {
      'multi-lru': leastUsed,
      lru: () => names[0],
      fifo: () => names[0],
      lineage: () => names.find((one) => this.#children(one).length === 0),
      'lineage-fifo': () => this.#leaves[0],
    }[typeof this.policy === 'object' ? this.policy.policy : this.policy]();
    return [name as bigint, this.remove(name as bigint) as number];
  }
}

/** Exact for one thread that makes one call after another. */
export class BlockModel {
  /** Empty blocks, in the order of their use. */
  readonly empty: number[];
  readonly #inactive: Inactive;
  readonly #active = new Map<bigint, Registered>();
  readonly #resetOnRelease: boolean;
  evictions = 0;

  constructor(
    readonly blockCount: number,
    readonly policy: Eviction,
    readonly duplicates: 'allow' | 'reject',
    { resetOnRelease = false, uses = () => 0 }: BlockModelOptions = {},
  ) {
    this.#resetOnRelease = resetOnRelease;
    this.empty = Array.from({ length: blockCount }, (_, id) => id);
    this.#inactive = new Inactive(policy, uses);
  }

  get available(): number {
    return this.empty.length + this.#inactive.blocks.size;
  }

  get inactive(): number {
    return this.#inactive.blocks.size;
  }

  /** Names that lookups find. */
  get present(): Set<bigint> {
    return new Set([...this.#active.keys(), ...this.#inactive.blocks.keys()]);
  }

  allocate(count: number): number[] | null {
    if (this.available < count) return null;
    const ids = this.empty.splice(0, count);
    while (ids.length < count) {
      ids.push(this.#inactive.evict()[1]);
      this.evictions += 1;
    }
    return ids;
  }

  /** Releases mutable or staged blocks. */
  drop(ids: readonly number[]): void {
    this.empty.push(...ids);
  }

  register(ids: readonly number[], names: readonly bigint[]): Registered[] {
    const dropped: number[] = [];
    const registered = ids.map((id, index) => {
      const name = names[index] as bigint;
      const there = this.#acquire(name);
      if (there === undefined) {
        const fresh: Registered = { id, name, refs: 1, primary: undefined };
        this.#active.set(name, fresh);
        return fresh;
      }
      if (this.duplicates === 'allow') return { id, name, refs: 1, primary: there };
      dropped.push(id);
      return there;
    });
    this.drop(dropped);
    return registered;
  }

  /** One more reference to the first block of a name. */
  #acquire(name: bigint): Registered | undefined {
    const active = this.#active.get(name);
    if (active !== undefined) {
      active.refs += 1;
      return active;
    }
    const id = this.#inactive.remove(name);
    if (id === undefined) return undefined;
    const registered: Registered = { id, name, refs: 1, primary: undefined };
    this.#active.set(name, registered);
    return registered;
  }

  matchPrefix(names: readonly bigint[]): Registered[] {
    const found: Registered[] = [];
    for (const name of names) {
      const registered = this.#acquire(name);
      if (registered === undefined) break;
      found.push(registered);
    }
    return found;
  }

  matchEach(names: readonly bigint[]): (Registered | undefined)[] {
    return names.map((name) => this.#acquire(name));
  }

  /** A repeated name is found once. */
  scan(names: readonly bigint[]): (Registered | undefined)[] {
    const seen = new Set<bigint>();
    return names.map((name) => {
      if (seen.has(name)) return undefined;
      seen.add(name);
      return this.#acquire(name);
    });
  }

  clone(blocks: readonly Registered[]): Registered[] {
    for (const one of blocks) one.refs += 1;
    return [...blocks];
  }

  upgrade(weak: readonly Registered[]): (Registered | undefined)[] {
    return weak.map((one) => {
      if (one.refs === 0) return this.#acquire(one.name);
      one.refs += 1;
      return one;
    });
  }

  release(blocks: readonly Registered[]): void {
    for (const one of blocks) this.#release(one);
  }

  #release(one: Registered): void {
    one.refs -= 1;
    if (one.refs > 0) return;
    if (one.primary !== undefined) {
      this.empty.push(one.id);
      this.#release(one.primary);
    } else {
      this.#active.delete(one.name);
      if (this.#resetOnRelease) this.empty.push(one.id);
      else this.#inactive.add(one.name, one.id);
    }
  }

  drain(): void {
    while (this.#inactive.blocks.size > 0) this.empty.push(this.#inactive.evict()[1]);
  }
}
