import { type BlockManager, type BlockManagerOptions, PagedSequence } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';
import { blockSize, hostManager } from '../../helpers/kvbm/blocks.js';
import { randomNumbers } from '../../helpers/random.js';

const layout = { layers: 1, heads: 1, headDim: 1, elementType: 'float32', outer: 1 } as const;

const testManager = (options: Partial<BlockManagerOptions> = {}): BlockManager => hostManager({ layout, ...options });

function create(manager: BlockManager, tokens: number[], options = {}): PagedSequence {
  const paged = PagedSequence.create(manager, tokens, options);
  if (paged === null) throw new Error('expected blocks, got none');
  onTestFinished(() => paged.dispose());
  return paged;
}

const counted = (count: number): number[] => Array.from({ length: count }, (_, index) => index + 1);

/** Writes the rows of uncomputed tokens, as a model does. A row is the token itself. */
function compute(paged: PagedSequence): void {
  const tokens = paged.tokens.tokens();
  for (let at = paged.computedTokens; at < paged.length; at++)
    rows(paged, Math.floor(at / blockSize))[at % blockSize] = tokens[at] as number;
  paged.commit();
}

function rows(paged: PagedSequence, page: number): Float32Array {
  const { buffer, byteOffset } = paged.page(page);
  return new Float32Array(buffer, byteOffset, blockSize);
}

function computed(paged: PagedSequence): number[] {
  const all = Array.from({ length: paged.pageCount }, (_, page) => [...rows(paged, page)]).flat();
  return all.slice(0, paged.computedTokens);
}

describe('PagedSequence', () => {
  it('has pages for its tokens, and registers full, committed pages', () => {
    const manager = testManager();
    const paged = create(manager, counted(6));
    expect([paged.cachedTokens, paged.pageCount, paged.committedPages, [...paged.blockTable()]]).toEqual([
      0,
      2,
      0,
      [0, 1],
    ]);
    compute(paged);
    expect([paged.committedPages, paged.computedTokens, [...paged.blockTable()]]).toEqual([1, 6, [0, 1]]);
    expect(paged.append(7) && paged.append([8, 9])).toBe(true);
    expect([...paged.blockTableInt32()]).toEqual([0, 1, 2]);
    compute(paged);
    expect([paged.committedPages, computed(paged)]).toEqual([2, counted(9)]);
  });

  it('takes the cached prefix, except the last token', () => {
    const manager = testManager();
    const first = create(manager, counted(8));
    compute(first);
    const second = create(manager, counted(8));
    expect([second.cachedTokens, second.computedTokens, [...second.blockTable()]]).toEqual([4, 4, [0, 2]]);
    const longer = create(manager, counted(9));
    expect([longer.cachedTokens, [...longer.blockTable()], computed(longer)]).toEqual([8, [0, 1, 3], counted(8)]);
    const none = create(manager, counted(9), { maxCachedTokens: 7 });
    expect(none.cachedTokens).toBe(4);
    const salted = create(manager, counted(5), { salt: 'other' });
    expect(salted.cachedTokens).toBe(0);
  });

  it('returns null from create, and false from append, if too few blocks are available', () => {
    const manager = testManager({ blockCount: 3 });
    const paged = create(manager, counted(8));
    expect(PagedSequence.create(manager, counted(9))).toBeNull();
    expect(manager.available).toBe(1);
    expect(paged.append(9)).toBe(true);
    const other = PagedSequence.create(manager, [5]);
    expect(other).toBeNull();
    expect(paged.append([10, 11, 12, 13])).toBe(false);
    expect([paged.length, paged.pageCount]).toEqual([9, 3]);
    expect(paged.reserve(3)).toBe(true);
    expect(paged.reserve(4)).toBe(false);
    paged.dispose();
    expect(manager.available).toBe(3);
  });

  it('keeps no blocks of an append whose copyPage throws', () => {
    const manager = testManager();
    let isBroken = true;
    const copyPage = (from: number, to: number): void => {
      if (isBroken) throw new Error(`no copy from ${from} to ${to}`);
    };
    const paged = create(manager, counted(6), { copyPage });
    paged.commit();
    const fork = paged.fork();
    onTestFinished(() => fork.dispose());
    const { available } = manager;
    for (let time = 0; time < 20; time++) expect(() => fork.append(70)).toThrow('no copy from 1');
    expect([manager.available, fork.length]).toEqual([available, 6]);
    isBroken = false;
    expect(fork.append(70)).toBe(true);
    paged.dispose();
    fork.dispose();
    expect(manager.available).toBe(8);
  });

  it('shares full pages with a fork, and copies the last page when one of them appends', () => {
    const manager = testManager();
    const paged = create(manager, counted(6));
    expect(() => paged.fork()).toThrow(expect.objectContaining({ name: 'BlockStateError' }));
    compute(paged);
    const fork = paged.fork();
    onTestFinished(() => fork.dispose());
    expect([...fork.blockTable()]).toEqual([...paged.blockTable()]);
    expect(manager.available).toBe(6);
    fork.append(70);
    compute(fork);
    expect([...fork.blockTable()]).toEqual([0, 2]);
    paged.append(7);
    compute(paged);
    expect([...paged.blockTable()]).toEqual([0, 1]);
    fork.append(80);
    paged.append(8);
    for (const one of [fork, paged]) compute(one);
    expect([computed(paged), computed(fork)]).toEqual([counted(8), [...counted(6), 70, 80]]);
    paged.dispose();
    expect(computed(fork)).toEqual([...counted(6), 70, 80]);
    fork.dispose();
    expect(manager.available).toBe(8);
    const again = create(manager, [...counted(6), 70, 80, 90]);
    expect(computed(again)).toEqual([...counted(6), 70, 80]);
  });

  it('shares the last page with a fork while no block is available for a copy', () => {
    const manager = testManager({ blockCount: 2 });
    const paged = create(manager, counted(6));
    compute(paged);
    const fork = paged.fork();
    expect(fork.append(7)).toBe(false);
    paged.dispose();
    expect(fork.append(7)).toBe(true);
    compute(fork);
    expect(computed(fork)).toEqual(counted(7));
    fork.dispose();
  });

  it('copies pages with copyPage if the manager has no bytes', () => {
    const manager = testManager({ layout: undefined, storage: undefined } as never);
    const copies: number[][] = [];
    const paged = create(manager, counted(5), { copyPage: (from: number, to: number) => copies.push([from, to]) });
    paged.commit();
    const fork = paged.fork();
    fork.append(6);
    expect(copies).toEqual([[1, 2]]);
    fork.dispose();
  });

  it('takes the registered block in place of its duplicate', () => {
    const manager = testManager({ duplicates: 'reject' });
    const [first, second] = [create(manager, counted(5)), create(manager, counted(5))];
    compute(first);
    compute(second);
    expect([[...first.blockTable()], [...second.blockTable()]]).toEqual([
      [0, 1],
      [0, 3],
    ]);
    expect(computed(second)).toEqual(counted(5));
  });

  it('throws ClosedError after dispose', () => {
    const manager = testManager();
    const paged = create(manager, counted(5));
    paged.dispose();
    paged[Symbol.dispose]();
    for (const use of [
      () => paged.append(1),
      () => paged.page(0),
      () => paged.commit(),
      () => paged.fork(),
      () => paged.blockTable(),
      () => paged.reserve(1),
    ]) {
      expect(use).toThrow(expect.objectContaining({ code: 'DYN_CLOSED' }));
    }
  });

  it('never mixes the rows of sequences in random creates, appends, forks and disposals', () => {
    const manager = testManager({ blockCount: 24 });
    const random = randomNumbers(11);
    const below = (limit: number): number => Math.floor(random() * limit);
    let live: PagedSequence[] = [];
    const counts = { cached: 0, forked: 0, refused: 0 };
    for (let step = 0; step < 3000; step++) {
      const one = live[below(live.length)];
      const what = below(10);
      if (what < 3 || one === undefined) {
        const fresh = PagedSequence.create(
          manager,
          Array.from({ length: 1 + below(20) }, (_, index) => (index < 12 ? Math.floor(index / 4) : below(3))),
        );
        if (fresh === null) counts.refused += 1;
        else {
          counts.cached += fresh.cachedTokens;
          live.push(fresh);
        }
      } else if (what < 7) {
        if (!one.append(Array.from({ length: 1 + below(6) }, () => below(3)))) counts.refused += 1;
        compute(one);
      } else if (what === 7 && one.computedTokens === one.length) {
        counts.forked += 1;
        live.push(one.fork());
      } else {
        live = live.filter((other) => other !== one);
        one.dispose();
      }
      for (const each of live) expect(computed(each)).toEqual([...each.tokens.tokens(0, each.computedTokens)]);
      if (live.length > 6) live.shift()?.dispose();
    }
    for (const count of Object.values(counts)) expect(count).toBeGreaterThan(50);
    for (const each of live) each.dispose();
    expect(manager.statistics()).toMatchObject({ available: 24, batches: 0 });
  });
});
