import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';

import { describe, expect, it, onTestFinished } from 'vitest';

import { root } from '../project.js';
import { randomNumbers } from '../random.js';
import { mutated } from './mutate.js';

/** Code that must keep its rules for every input. */
export interface FuzzTarget {
  readonly name: string;
  /** Its folder in `test/stress/fuzz/corpus`. @default `name` */
  readonly corpus?: string;
  /** Executions in flight at one time. @default 1 */
  readonly concurrency?: number;
  /** Makes what the executions share. It registers its end with `onTestFinished`. */
  open(): FuzzRun | Promise<FuzzRun>;
}

/** One execution. It throws if the code broke a rule. */
export type FuzzRun = (input: Uint8Array) => void | Promise<void>;

/** The event loop turns this often, for timers and reports of the test runner. */
const TURN_MS = 20;
const SHOWN_BYTES = 400;

function corpusOf(name: string): Uint8Array[] {
  const folder = join(root, 'test/stress/fuzz/corpus', name);
  return readdirSync(folder)
    .sort()
    .map((file) => readFileSync(join(folder, file)));
}

/**
 * Runs a target on its corpus, then on changed copies of it. Returns the number of executions.
 *
 * @throws Error that names the seed and the input at the first broken rule
 */
export async function fuzz(
  { name, corpus = name, concurrency = 1, open }: FuzzTarget,
  seed: number,
  seconds: number,
  samples: readonly Uint8Array[] = corpusOf(corpus),
): Promise<number> {
  const run = await open();
  let count = 0;
  const next = (): [input: Uint8Array, what: string] => {
    const number = count++;
    const sample = samples[number];
    if (sample !== undefined) return [sample, `corpus file ${number}`];
    const own = seed + number - samples.length;
    return [mutated(samples, randomNumbers(own)), `seed ${own}`];
  };
  const failure = (what: string, input: Uint8Array, cause: unknown): Error => {
    const hex = Buffer.from(input.subarray(0, SHOWN_BYTES)).toString('hex');
    return new Error(`${name}, ${what}, ${input.length} bytes ${hex}: ${String(cause)}`, { cause });
  };
  // Most inputs are refused, and a stack trace costs more than the refusal.
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  onTestFinished(() => void (Error.stackTraceLimit = stackTraceLimit));
  const end = performance.now() + seconds * 1000;
  const lane = async (): Promise<void> => {
    for (let now = performance.now(); now < end || count < samples.length; now = performance.now()) {
      do {
        const [input, what] = next();
        try {
          const running = run(input);
          if (running !== undefined) await running;
        } catch (error) {
          throw failure(what, input, error);
        }
      } while (performance.now() < now + TURN_MS);
      await turn();
    }
  };
  await Promise.all(Array.from({ length: concurrency }, lane));
  return count;
}

/**
 * One test for each target, of that many seconds. `first` is the seed of the first input after the corpus; without it
 * each run has another one. `FUZZ_SEED` repeats a run: it is the seed that a failure names.
 */
export function describeFuzz(targets: readonly FuzzTarget[], seconds: number, first?: number): void {
  const seed = Number(process.env['FUZZ_SEED'] ?? first ?? Date.now() % 2 ** 31);
  describe('a fuzzer finds nothing in', () => {
    it.each(targets.map((target) => [target.name, target] as const))(
      '%s',
      {
        timeout: seconds * 1000 + 120_000,
      },
      async (name, target) => {
        console.log(`fuzz ${name}: seed ${seed}`);
        const start = performance.now();
        const count = await fuzz(target, seed, seconds);
        const rate = Math.round(count / ((performance.now() - start) / 1000));
        console.log(`fuzz ${name}: ${count} executions, ${rate} a second`);
        expect(count).toBeGreaterThan(50);
      },
    );
  });
}
