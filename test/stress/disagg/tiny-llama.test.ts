import { describe, expect, it } from 'vitest';
import { disaggregated, expectBaseline, SMALL } from '../../helpers/disagg/deployment.js';
import { compareDisaggregated } from '../../helpers/disagg/trial.js';
import { deployments } from '../../helpers/llm/deployments.js';
import { nixlMissing } from '../../helpers/nixl/library.js';

const PROMPTS = 1000;
const deployment = deployments();
const nixl = nixlMissing() === undefined ? 'real' : 'mock';

describe('a disaggregated tiny Llama', () => {
  it.each([
    { prefill: 1, decode: 1, ranks: [1, 1] },
    { prefill: 2, decode: 1, ranks: [1, 1] },
    { prefill: 1, decode: 2, ranks: [1, 1] },
    { prefill: 3, decode: 2, ranks: [1, 1] },
    { prefill: 1, decode: 1, ranks: [2, 1] },
    { prefill: 1, decode: 1, ranks: [1, 2] },
  ] as const)(
    'returns the greedy answers of the aggregated model for a thousand prompts, with $prefillP$decodeD of $ranks ranks',
    { timeout: 1_800_000 },
    async ({ prefill, decode, ranks: [prefillRanks, decodeRanks] }) => {
      const optionsOf = (tensorParallelSize: number) =>
        ({ nixl, cache: { ...SMALL.cache, tensorParallelSize } }) as const;
      const all = await disaggregated(deployment(), {
        ...{ prefill, decode },
        prefillOptions: optionsOf(prefillRanks),
        decodeOptions: optionsOf(decodeRanks),
      });
      const seed = 100 + 10 * prefill + decode + 100 * (prefillRanks + 2 * decodeRanks - 3);
      const result = await compareDisaggregated(all, PROMPTS, seed);
      const { equal, ties, promptTokens, cachedAtPrefill, cachedAtDecode } = result;
      const ranks = `TP ${prefillRanks} to ${decodeRanks}`;
      console.log(`${prefill}P${decode}D, ${ranks}, over ${nixl}: ${equal} equal, ${ties} ties`);
      console.log(`${promptTokens} prompt tokens, ${cachedAtPrefill} cached at prefill, ${cachedAtDecode} at decode`);
      expect(result.different).toEqual([]);
      expect(equal + ties).toBe(PROMPTS);
      expect(ties).toBeLessThanOrEqual(PROMPTS / 100);
      await expectBaseline(all);
    },
  );
});
