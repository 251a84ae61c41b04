import { expect, it } from 'vitest';
import { compareAnswers } from '../../helpers/kvbm/cached-answers.js';

const PROMPTS = 1000;

it('a thousand prompts with shared beginnings have the same greedy answers with a cache in few blocks as without one', {
  timeout: 1_800_000,
}, async () => {
  const result = await compareAnswers(PROMPTS, 2);
  console.log(
    `${result.equal} equal, ${result.ties} ties; ${result.cachedTokens} of ${result.promptTokens} prompt tokens cached, ${result.evictions} evictions`,
  );
  expect(result.different).toEqual([]);
  expect(result.equal + result.ties).toBe(PROMPTS);
  expect(result.ties).toBeLessThan(PROMPTS / 50);
  expect(result.cachedTokens).toBeGreaterThan(result.promptTokens / 4);
  expect(result.evictions).toBeGreaterThan(PROMPTS / 4);
  expect(result.blocksLeft).toBe(48);
});
