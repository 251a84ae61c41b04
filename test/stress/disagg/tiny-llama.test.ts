import { describe, expect, it } from 'vitest';
import { disaggregated, expectBaseline } from '../../helpers/disagg/deployment.js';
import { compareDisaggregated } from '../../helpers/disagg/trial.js';
import { deployments } from '../../helpers/llm/deployments.js';
import { nixlMissing } from '../../helpers/nixl/library.js';

const PROMPTS = 1000;
const deployment = deployments();
const nixl = nixlMissing() === undefined ? 'real' : 'mock';

describe('a disaggregated tiny Llama', () => {
  it.each([
    [1, 1],
    [2, 1],
    [1, 2],
    [3, 2],
  ])(
    'returns the same greedy answers as the aggregated model for a thousand prompts, with %iP%iD',
    {
      timeout: 1_800_000,
    },
    async (prefill, decode) => {
      const options = { prefill, decode, prefillOptions: { nixl }, decodeOptions: { nixl } } as const;
      const all = await disaggregated(deployment(), options);
      const result = await compareDisaggregated(all, PROMPTS, 100 + 10 * prefill + decode);
      const { equal, ties, promptTokens, cachedAtPrefill, cachedAtDecode } = result;
      console.log(`${prefill}P${decode}D over ${nixl}: ${equal} equal, ${ties} ties`);
      console.log(`${promptTokens} prompt tokens, ${cachedAtPrefill} cached at prefill, ${cachedAtDecode} at decode`);
      expect(result.different).toEqual([]);
      expect(equal + ties).toBe(PROMPTS);
      expect(ties).toBeLessThanOrEqual(PROMPTS / 100);
      await expectBaseline(all);
    },
  );
});
