import { describe, expect, it } from 'vitest';
import { Sampler, type SamplingOptions } from '../../../examples/tiny-llama/sampling.js';

const logits = Float32Array.from([1, 4, 2, 3, -5]);
const DRAWS = 4000;

function probabilities(temperature = 1): number[] {
  const weights = Array.from(logits, (logit) => Math.exp(logit / temperature));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

/** The share of each token among many samples, each from a new sampler. */
function shares(options: SamplingOptions): number[] {
  const counts = Array.from(logits, () => 0);
  const sampler = new Sampler({ temperature: 1, seed: 7, ...options });
  for (let i = 0; i < DRAWS; i++) counts[sampler.choose(logits).tokenId]!++;
  return counts.map((count) => count / DRAWS);
}

function expectShares(got: readonly number[], wanted: readonly number[]): void {
  for (const [id, share] of wanted.entries()) {
    if (share === 0) expect(got[id]).toBe(0);
    else expect(Math.abs(got[id]! - share), `token ${id}`).toBeLessThan(0.03);
  }
}

function renormalised(kept: readonly number[]): number[] {
  const all = probabilities();
  const sum = kept.reduce((total, id) => total + all[id]!, 0);
  return all.map((probability, id) => (kept.includes(id) ? probability / sum : 0));
}

describe('Sampler', () => {
  it('selects the most likely token by default and reports its log probability', () => {
    const choice = new Sampler().choose(logits);
    expect(choice.tokenId).toBe(1);
    expect(choice.logprob).toBeCloseTo(Math.log(probabilities()[1]!), 6);
  });

  it('selects the first of equal tokens when greedy', () => {
    expect(new Sampler().choose(Float32Array.from([0, 2, 2])).tokenId).toBe(1);
  });

  it('samples in proportion to the probabilities', () => expectShares(shares({}), probabilities()));

  it('flattens the probabilities by the temperature', () => expectShares(shares({ temperature: 3 }), probabilities(3)));

  it('keeps the topK most likely tokens', () => expectShares(shares({ topK: 2 }), renormalised([1, 3])));

  it.each([0, -1])('keeps all tokens with topK %i', (topK) => expectShares(shares({ topK }), probabilities()));

  it('keeps the fewest tokens that reach topP', () => expectShares(shares({ topP: 0.7 }), renormalised([1, 3])));

  it('keeps the best token if it alone reaches topP', () => {
    expectShares(shares({ topP: 0.1 }), renormalised([1]));
  });

  it('excludes tokens below minP of the best', () => expectShares(shares({ minP: 0.1 }), renormalised([1, 2, 3])));

  it('samples the same tokens only with the same seed', () => {
    const draw = (seed: number | bigint) => {
      const sampler = new Sampler({ temperature: 2, seed });
      return Array.from({ length: 40 }, () => sampler.choose(logits).tokenId);
    };
    expect(draw(1)).toEqual(draw(1));
    expect(draw(1)).toEqual(draw(1n));
    expect(draw(1)).not.toEqual(draw(2));
    expect(draw(2n ** 63n)).not.toEqual(draw(0));
  });

  it('samples no banned token', () => {
    expect(new Sampler().choose(logits, [1, 3]).tokenId).toBe(2);
    const sampler = new Sampler({ temperature: 1, seed: 1 });
    for (let i = 0; i < 200; i++) expect(sampler.choose(logits, [1]).tokenId).not.toBe(1);
  });

  it('applies repetitionPenalty to the prompt and the answer, for both signs of the logit', () => {
    const sampler = new Sampler({ repetitionPenalty: 1.5 }, [1]);
    expect(sampler.choose(logits).tokenId).toBe(3);
    expect(sampler.choose(logits).tokenId).toBe(1);
    const negative = Float32Array.from([-2, -2.5]);
    expect(new Sampler({ repetitionPenalty: 2 }, [0]).choose(negative).tokenId).toBe(1);
  });

  it('applies presencePenalty once to each token of the answer', () => {
    const sampler = new Sampler({ presencePenalty: 1.5 }, [3]);
    const drawn = Array.from({ length: 4 }, () => sampler.choose(logits).tokenId);
    expect(drawn).toEqual([1, 3, 1, 1]);
  });

  it('applies frequencyPenalty once per occurrence', () => {
    const sampler = new Sampler({ frequencyPenalty: 1.5 });
    const drawn = Array.from({ length: 4 }, () => sampler.choose(logits).tokenId);
    expect(drawn).toEqual([1, 3, 1, 2]);
  });

  it('reports log probabilities before penalties, temperature and bans', () => {
    const sampler = new Sampler({ temperature: 0.5, topK: 1, presencePenalty: 9, topLogprobs: 9 }, [1]);
    const choice = sampler.choose(logits, [1]);
    expect(choice.tokenId).toBe(3);
    expect(choice.logprob).toBeCloseTo(Math.log(probabilities()[3]!), 6);
    expect(choice.topLogprobs?.map((each) => each.tokenId)).toEqual([1, 3, 2, 0, 4]);
    const sum = choice.topLogprobs!.reduce((total, each) => total + Math.exp(each.logprob), 0);
    expect(sum).toBeCloseTo(1, 6);
  });

  const badOptions: [SamplingOptions, string, ErrorConstructor][] = [
    [{ temperature: -0.1 }, 'options.temperature: expected a number from 0, got -0.1', RangeError],
    [{ temperature: Infinity }, 'options.temperature: expected a number from 0, got Infinity', RangeError],
    [{ temperature: NaN }, 'options.temperature: expected a number, got NaN', TypeError],
    [{ topK: -2 }, 'options.topK: expected -1 or more, got -2', RangeError],
    [{ topK: 1.5 }, 'options.topK: expected an integer, got 1.5', TypeError],
    [{ topP: 0 }, 'options.topP: expected a number above 0 to 1, got 0', RangeError],
    [{ topP: 1.1 }, 'options.topP: expected a number above 0 to 1, got 1.1', RangeError],
    [{ minP: 2 }, 'options.minP: expected a number from 0 to 1, got 2', RangeError],
    [{ repetitionPenalty: 0 }, 'options.repetitionPenalty: expected a number above 0, got 0', RangeError],
    [{ presencePenalty: Infinity }, 'options.presencePenalty: expected a finite number, got Infinity', RangeError],
    [{ frequencyPenalty: 'x' as unknown as number }, 'options.frequencyPenalty: expected a number, got x', TypeError],
    [{ topLogprobs: -1 }, 'options.topLogprobs: expected 0 or more, got -1', RangeError],
    [{ seed: 0.5 }, 'options.seed: expected an integer, got 0.5', TypeError],
  ];
  it.each(badOptions)('rejects %o', (options, message, kind) => {
    expect(() => new Sampler(options)).toThrow(kind);
    expect(() => new Sampler(options)).toThrow(message);
  });
});
