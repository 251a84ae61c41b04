import { describe, expect, it } from 'vitest';

import { pack } from '../../../lib/addon/codec.js';
import { type ItemSource, StreamItem, StreamIterator } from '../../../lib/addon/stream.js';

const item = (value: unknown): StreamItem => {
  const bytes = pack(value);
  return new StreamItem(false, bytes, 0, bytes.byteLength);
};

/** A source with these batches. A batch that is an error fails the pull. */
class Batches implements ItemSource {
  kills = 0;
  constructor(
    private readonly batches: (readonly unknown[] | Error)[],
    private readonly turns = 0,
  ) {}

  async pull(): Promise<StreamItem[]> {
    for (let turn = 0; turn < this.turns; turn++) await Promise.resolve();
    const batch = this.kills > 0 ? [] : (this.batches.shift() ?? []);
    if (batch instanceof Error) throw batch;
    return batch.map(item);
  }

  stop(): void {}

  kill(): void {
    this.kills += 1;
  }
}

const read = (source: ItemSource, finished?: () => void): StreamIterator<number> =>
  new StreamIterator<number>(source, (one) => one.unpack() as number, finished);

describe('a stream iterator', () => {
  it.each([
    [0, [[0, 1, 2, 3, 4, 5, 6]]],
    [0, [[0], [1, 2], [3], [4, 5, 6]]],
    [5, [[0, 1], [2], [3, 4, 5], [6]]],
  ])('answers reads ahead in their order, then with the end: %#', async (turns, batches) => {
    for (const ahead of [1, 2, 3, 7, 8, 20]) {
      const stream = read(
        new Batches(
          batches.map((batch) => [...batch]),
          turns,
        ),
      );
      const seen: IteratorResult<number>[] = [];
      while (seen.length < 20) {
        const reads = Array.from({ length: ahead }, () => stream.next());
        seen.push(...(await Promise.all(reads)));
      }
      expect(seen.slice(0, 7).map(({ value }) => value)).toEqual([0, 1, 2, 3, 4, 5, 6]);
      expect(seen.slice(7).every(({ done }) => done === true)).toBe(true);
    }
  });

  it.each([1, 2, 3, 8])('answers a window of %d reads in flight in its order, then with the end', async (width) => {
    for (const turns of [0, 1, 2, 5]) {
      const stream = read(new Batches([[0, 1, 2], [3], [4, 5, 6, 7, 8], [9]], turns));
      const reads = Array.from({ length: width }, () => stream.next());
      for (let index = 0; index < 12; index++) {
        const { done, value } = await (reads[index] as Promise<IteratorResult<number>>);
        expect(done === true ? 'end' : value).toBe(index < 10 ? index : 'end');
        reads.push(stream.next());
      }
    }
  });

  it('gives the error of the source to one of the reads ahead, and the end to those after it', async () => {
    const source = new Batches([[0, 1], new Error('cut')], 2);
    const stream = read(source);
    const reads = Array.from({ length: 5 }, () => stream.next().catch((error: Error) => error.message));
    expect(await Promise.all(reads)).toEqual([
      { done: false, value: 0 },
      { done: false, value: 1 },
      'cut',
      { done: true, value: undefined },
      { done: true, value: undefined },
    ]);
    expect(source.kills).toBeGreaterThan(0);
  });

  it.each([
    ['the first read', 0],
    ['a later read', 2],
  ])('rejects the read of an item that cannot be decoded, and kills the stream: %s', async (_, bad) => {
    const source = new Batches([[0, 1, 2, 3]]);
    let finished = 0;
    const stream = new StreamIterator<number>(
      source,
      (one) => {
        const value = one.unpack() as number;
        if (value === bad) throw new Error('unreadable');
        return value;
      },
      () => (finished += 1),
    );
    for (let index = 0; index < bad; index++) expect((await stream.next()).value).toBe(index);
    let thrown: unknown;
    // A synchronous throw would escape the `catch` of a promise.
    const failing = stream.next();
    await failing.catch((error: unknown) => (thrown = error));
    expect(thrown).toMatchObject({ message: 'unreadable' });
    expect(source.kills).toBe(1);
    expect(finished).toBe(1);
    expect(await stream.next()).toEqual({ done: true, value: undefined });
  });

  it('ends the reads that wait when it is returned', async () => {
    let arrive = (_: StreamItem[]): void => {};
    const source: ItemSource = {
      pull: () => new Promise((resolve) => (arrive = resolve)),
      stop: () => {},
      kill: () => {},
    };
    const stream = read(source);
    const reads = [stream.next(), stream.next()];
    await Promise.resolve();
    await stream.return();
    arrive([item(1)]);
    expect(await Promise.all(reads)).toEqual([
      { done: true, value: undefined },
      { done: true, value: undefined },
    ]);
  });
});
