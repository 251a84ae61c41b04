import {
  type BlockManager,
  LineageHashes,
  type MutableBlocks,
  type RegisteredBlocks,
  type StagedBlocks,
  TokenSequence,
  type WeakBlocks,
} from 'dynamo-node';
import { randomNumbers } from '../random.js';
import type { BlockModel, Registered } from './block-model.js';

const BLOCK_SIZE = 4;
const DEPTH = 6;

interface Trial {
  readonly manager: BlockManager;
  readonly model: BlockModel;
  readonly steps: number;
  readonly seed: number;
}

interface Batch<B, M> {
  readonly real: B;
  readonly model: M;
}

function same(what: string, got: unknown, expected: unknown): void {
  const [left, right] = [got, expected].map((value) =>
    JSON.stringify(value, (_, one: unknown) => (typeof one === 'bigint' ? one.toString(16) : one)),
  );
  if (left !== right) throw new Error(`${what}: expected ${right}, got ${left}`);
}

/** Makes random calls on a manager and its model, and throws if they differ. Returns how often each kind occurred. */
export function tryManager({ manager, model, steps, seed }: Trial): {
  allocated: number;
  refused: number;
  evicted: number;
  duplicated: number;
  scanned: number;
} {
  const random = randomNumbers(seed);
  const below = (limit: number): number => Math.floor(random() * limit);
  const counts = { allocated: 0, refused: 0, evicted: 0, duplicated: 0, scanned: 0 };
  const mutable: Batch<MutableBlocks, number[]>[] = [];
  const staged: (Batch<StagedBlocks, number[]> & { names: bigint[] })[] = [];
  const registered: Batch<RegisteredBlocks, Registered[]>[] = [];
  const weak: Batch<WeakBlocks, Registered[]>[] = [];
  const take = <T>(list: T[]): T | undefined => list.splice(below(list.length), 1)[0];

  /** A random path of 1 to DEPTH blocks in a binary tree of prompts. */
  const sequence = (): TokenSequence => {
    const tokens: number[] = [];
    for (let block = 1 + below(DEPTH); block > 0; block--) tokens.push(...Array<number>(BLOCK_SIZE).fill(below(2)));
    return new TokenSequence(tokens, { blockSize: BLOCK_SIZE });
  };
  const hold = (real: RegisteredBlocks | undefined, expected: Registered[]): void => {
    same(
      'ids',
      [...(real?.ids ?? [])],
      expected.map(({ id }) => id),
    );
    if (real !== undefined) registered.push({ real, model: expected });
  };

  const moves: [number, () => void][] = [
    [
      20,
      () => {
        const count = 1 + below(DEPTH);
        const [real, expected] = [manager.allocate(count), model.allocate(count)];
        same('allocated', real === null ? null : [...real.ids], expected);
        if (real === null || expected === null) counts.refused += 1;
        else {
          counts.allocated += 1;
          mutable.push({ real, model: expected });
        }
      },
    ],
    [
      20,
      () => {
        const batch = take(mutable);
        if (batch === undefined) return;
        using names = sequence();
        const first = below(names.blockCount);
        const count = Math.min(names.blockCount - first, batch.model.length);
        const rest = batch.model.length > count ? batch.real.split(count) : undefined;
        if (rest !== undefined) mutable.push({ real: rest, model: batch.model.slice(count) });
        const hashes = [...names.lineageHashes(first, count)];
        staged.push({ real: batch.real.stage(names, first), model: batch.model.slice(0, count), names: hashes });
      },
    ],
    [
      20,
      () => {
        const batch = take(staged);
        if (batch === undefined) return;
        same('staged names', [...batch.real.hashes()], batch.names);
        const before = model.present;
        counts.duplicated += batch.names.filter((name) => before.has(name)).length;
        hold(batch.real.register(), model.register(batch.model, batch.names));
      },
    ],
    [
      5,
      () => {
        const batch = take(staged);
        if (batch !== undefined) mutable.push({ real: batch.real.reset(), model: batch.model });
      },
    ],
    [
      20,
      () => {
        using names = sequence();
        const expected = model.matchPrefix([...names.lineageHashes()]);
        hold(manager.matchPrefix(below(2) === 0 ? names : names.lineageHashes()), expected);
      },
    ],
    [
      5,
      () => {
        using names = sequence();
        const found = manager.matchEach(names);
        const expected = model.matchEach([...names.lineageHashes()]);
        let next = 0;
        same(
          'positions',
          [...found.positions],
          expected.map((one) => (one === undefined ? -1 : next++)),
        );
        hold(
          found.blocks,
          expected.filter((one) => one !== undefined),
        );
      },
    ],
    [
      5,
      () => {
        using one = sequence();
        using other = sequence();
        // Two prompts may share a prefix: then some names are repeated.
        const names = [...one.lineageHashes(), ...other.lineageHashes()];
        const found = manager.scan(LineageHashes.from(names), below(2) === 0);
        const expected = model.scan(names);
        let next = 0;
        same(
          'scanned positions',
          [...found.positions],
          expected.map((one) => (one === undefined ? -1 : next++)),
        );
        const scanned = expected.filter((one) => one !== undefined);
        counts.scanned += scanned.length;
        hold(found.blocks, scanned);
      },
    ],
    [
      5,
      () => {
        const batch = registered[below(registered.length)];
        if (batch !== undefined) hold(batch.real.clone(), model.clone(batch.model));
      },
    ],
    [
      5,
      () => {
        const batch = registered[below(registered.length)];
        if (batch === undefined) return;
        const at = below(batch.model.length);
        hold(batch.real.split(at), batch.model.splice(at));
        if (batch.model.length === 0) registered.splice(registered.indexOf(batch), 1)[0]?.real.dispose();
      },
    ],
    [
      4,
      () => {
        const batch = registered[below(registered.length)];
        if (batch !== undefined) weak.push({ real: batch.real.weak(), model: [...batch.model] });
      },
    ],
    [
      4,
      () => {
        const batch = take(weak);
        if (batch === undefined) return;
        const found = batch.real.upgrade();
        hold(
          found.blocks,
          model.upgrade(batch.model).filter((one) => one !== undefined),
        );
        batch.real.dispose();
      },
    ],
    [
      8,
      () => {
        const batch = take(mutable);
        batch?.real.dispose();
        model.drop(batch?.model ?? []);
      },
    ],
    [
      4,
      () => {
        const batch = take(staged);
        batch?.real.dispose();
        model.drop(batch?.model ?? []);
      },
    ],
    [
      40,
      () => {
        const batch = take(registered);
        batch?.real.dispose();
        model.release(batch?.model ?? []);
      },
    ],
    [
      1,
      () => {
        // This policy empties its blocks in the order of a hash table.
        if (model.policy === 'fifo') return;
        same('drained', manager.drainInactive().drained, model.inactive);
        model.drain();
      },
    ],
  ];
  const total = moves.reduce((sum, [weight]) => sum + weight, 0);

  for (let step = 0; step < steps; step++) {
    let at = below(total);
    const move = moves.find(([weight]) => (at -= weight) < 0) as [number, () => void];
    try {
      move[1]();
      const all = [...mutable, ...staged, ...registered].flatMap(({ real }) => [...real.ids]);
      if (step % 16 === 0) check(all);
    } catch (error) {
      throw new Error(`step ${step} of seed ${seed}: ${(error as Error).message}`, { cause: error });
    }
  }

  function check(used: readonly number[]): void {
    const { available, empty, inactive, total: blocks } = manager.statistics();
    same('available', available, model.available);
    same('empty', empty, model.empty.length);
    same('inactive', inactive, model.inactive);
    const distinct = new Set(used);
    if ([...distinct].some((id) => id >= blocks))
      throw new Error(`ids: expected below ${blocks}, got ${[...distinct].join(' ')}`);
    if (model.empty.some((id) => distinct.has(id))) throw new Error('a block is empty and in use');
    const writable = [...mutable, ...staged].flatMap(({ real }) => [...real.ids]);
    if (new Set(writable).size !== writable.length) throw new Error(`a block has two writers: ${writable.join(' ')}`);
    const shared = new Set(registered.flatMap(({ real }) => [...real.ids]));
    if (writable.some((id) => shared.has(id))) throw new Error('a block is written and registered');
    const { present } = model;
    if (present.size > 0) {
      const names = LineageHashes.from(present);
      same('presence', [...manager.registry.presence(names, [manager.tier])], Array(present.size).fill(1));
    }
  }

  for (const { real, model: ids } of mutable) {
    real.dispose();
    model.drop(ids);
  }
  for (const { real, model: ids } of staged) {
    real.dispose();
    model.drop(ids);
  }
  for (const { real, model: blocks } of registered) {
    real.dispose();
    model.release(blocks);
  }
  for (const { real } of weak) real.dispose();
  same('available at the end', manager.available, model.blockCount);
  same('batches at the end', manager.statistics().batches, 0);
  counts.evicted = model.evictions;
  return counts;
}
