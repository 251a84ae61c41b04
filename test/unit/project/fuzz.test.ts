import { describe, expect, it } from 'vitest';

import { type FuzzRun, fuzz } from '../../helpers/fuzz/harness.js';
import { FuzzInput } from '../../helpers/fuzz/input.js';

const SAMPLES = [Uint8Array.of(1, 2, 3, 4)];

const target = (run: FuzzRun, concurrency = 1) => ({ name: 'trial', concurrency, open: () => run });

describe('a fuzzer', () => {
  it('runs the corpus, then changed copies of it', async () => {
    const seen: Uint8Array[] = [];
    const count = await fuzz(
      target((input) => void seen.push(input)),
      7,
      0.05,
      SAMPLES,
    );
    expect(seen).toHaveLength(count);
    expect(seen[0]).toEqual(SAMPLES[0]);
    expect(new Set(seen.map(String)).size).toBeGreaterThan(100);
  });

  it.each([1, 4])(
    'names a seed, with which the same input fails first (%i executions at a time)',
    async (concurrency) => {
      const fails = target(async (input) => {
        if (input.length > 1 && input.at(-1) === 77) throw new Error('a planted fault');
      }, concurrency);
      const failure = (seed: number) =>
        fuzz(fails, seed, 10, SAMPLES).then(
          () => expect.fail('it found nothing'),
          (error: Error) => /seed (\d+), (\d+ bytes [0-9a-f]+): Error: a planted fault/.exec(error.message)!,
        );
      const [, seed, input] = await failure(7);
      expect(input).toMatch(/4d$/);
      const [, again, same] = await failure(Number(seed));
      expect([again, same]).toEqual([seed, input]);
    },
  );

  it('reads the same choices from the same bytes, and 0 after their end', () => {
    const choices = () => {
      const input = new FuzzInput(Uint8Array.of(200, 3, 1, 2, 3, 9));
      return [input.below(7), input.take(3), input.byte(), input.byte(), input.isSpent, input.below(1000)];
    };
    expect(choices()).toEqual([200 % 7, Uint8Array.of(1, 2, 3), 9, 0, true, 0]);
    expect(choices()).toEqual(choices());
  });
});
