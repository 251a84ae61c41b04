import { describe, expect, it } from 'vitest';
import { compareAnswers } from '../../helpers/kvbm/cached-answers.js';

const PROMPTS = 1000;

describe('the tiny Llama with a small KV cache', () => {
  it('returns the same greedy answers as without a cache for a thousand prompts with shared prefixes', {
    timeout: 1_800_000,
  }, async () => {
    const result = await compareAnswers(PROMPTS, 2);
    console.log(`${result.equal} equal, ${result.ties} ties, ${result.evictions} evictions`);
    console.log(`${result.cachedTokens} of ${result.promptTokens} prompt tokens cached`);
    expect(result.different).toEqual([]);
    expect(result.equal + result.ties).toBe(PROMPTS);
    expect(result.ties).toBeLessThan(PROMPTS / 50);
    expect(result.cachedTokens).toBeGreaterThan(result.promptTokens / 4);
    expect(result.evictions).toBeGreaterThan(PROMPTS / 4);
    expect(result.blocksLeft).toBe(48);
  });
});
