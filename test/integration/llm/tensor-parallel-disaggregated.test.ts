import { describe, expect, it } from 'vitest';
import { completion, disaggregated, expectBaseline, greedyCases, SMALL } from '../../helpers/disagg/deployment.js';
import { deployments } from '../../helpers/llm/deployments.js';

const deployment = deployments();
/** Short prompts, and one of several blocks. A rank has three messages for each layer of each token. */
const certain = greedyCases.filter(({ gaps, name }, index) => {
  const isCertain = gaps.every((gap) => gap > 1e-4);
  return isCertain && (index < 8 || name === 'long system message');
});
const of = (tensorParallelSize: number) => ({ cache: { ...SMALL.cache, tensorParallelSize } });

describe('a disaggregated tiny Llama', () => {
  it.each([
    [2, 1],
    [1, 2],
    [2, 2],
  ])(
    'answers with the tokens of transformers with %i ranks that prefill and %i that decode',
    async (prefill, decode) => {
      const options = { prefillOptions: of(prefill), decodeOptions: of(decode) };
      const all = await disaggregated(deployment(), options);
      for (const { name, text, promptTokenIds, tokenIds } of certain)
        expect((await completion(all.frontend, promptTokenIds, { max_tokens: tokenIds.length })).text, name).toBe(text);
      expect(all.reports).toHaveLength(certain.length);
      expect(all.reports.filter(({ bytes }) => bytes > 0).length).toBeGreaterThan(certain.length / 4);
      await expectBaseline(all);
    },
  );
});
