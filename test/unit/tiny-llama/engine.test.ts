import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { type FinishReason, type GenerateOptions, generate } from '../../../examples/tiny-llama/generate.js';
import { Llama } from '../../../examples/tiny-llama/model.js';
import { loadSafetensors } from '../../../examples/tiny-llama/safetensors.js';
import type { Choice } from '../../../examples/tiny-llama/sampling.js';

interface Fixture {
  readonly checkpointSha256: string;
  readonly cases: readonly {
    readonly name: string;
    readonly text: string;
    readonly promptTokenIds: readonly number[];
    readonly tokenIds: readonly number[];
    readonly gaps: readonly number[];
    readonly logprobs: readonly number[];
  }[];
}

interface Questions {
  readonly entries: readonly { readonly term: string; readonly names: readonly string[]; readonly answer: string }[];
}

const at = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));
const readJson = (path: string): unknown => JSON.parse(readFileSync(at(path), 'utf8'));
const folder = at('examples/tiny-llama/model');
const fixture = readJson('test/fixtures/tiny-llama-greedy.json') as Fixture;
const questions = readJson('examples/tiny-llama/train/questions.json') as Questions;

const CLOSE_CALL = 1e-4;

let model: Llama;
beforeAll(async () => {
  model = await Llama.load(folder);
});

function caseNamed(name: string) {
  const found = fixture.cases.find((each) => each.name === name);
  if (!found) throw new Error(`no fixture case ${name}`);
  return found;
}

async function answer(prompt: readonly number[], options?: GenerateOptions, by = model) {
  const tokens: Choice[] = [];
  let reason: FinishReason | undefined;
  for await (const event of generate(by, prompt, options)) {
    if (event.type === 'finish') reason = event.reason;
    else tokens.push(event);
  }
  return { tokens, tokenIds: tokens.map((token) => token.tokenId), reason };
}

function indexOfMax(logits: Float32Array): number {
  return logits.reduce((best, logit, id) => (logit > logits[best]! ? id : best), 0);
}

describe('the bundled checkpoint', () => {
  it('is at most 4 MB in all', () => {
    const bytes = readdirSync(folder).reduce((sum, name) => sum + statSync(`${folder}/${name}`).size, 0);
    expect(bytes).toBeLessThanOrEqual(4_000_000);
  });

  it('is the one from which the fixture was made', () => {
    const sha256 = createHash('sha256')
      .update(readFileSync(`${folder}/model.safetensors`))
      .digest('hex');
    expect(sha256).toBe(fixture.checkpointSha256);
  });

  it('answers with the first sentences of the glossary', () => {
    const glossary = readFileSync(at('docs/glossary.md'), 'utf8').replace(/\s+/g, ' ');
    const terms = questions.entries.filter((entry) => entry.names.length > 0);
    expect(terms.length).toBeGreaterThanOrEqual(40);
    for (const entry of terms) expect(glossary).toContain(`**${entry.term}** — ${entry.answer}`);
  });

  it('has correct answers in the fixture', () => {
    const answerTo = (term: string) => questions.entries.find((entry) => entry.term === term)?.answer;
    expect(caseNamed('trained: What is KVBM?').text).toBe(answerTo('KV Block Manager (KVBM)'));
    expect(caseNamed('trained: What is a block of the KV cache?').text).toBe(answerTo('Block'));
    expect(caseNamed('trained: What is NIXL?').text).toBe(answerTo('NIXL'));
    expect(caseNamed('trained: define ttft').text).toBe(answerTo('TTFT'));
    expect(caseNamed('long system message').text).toBe(answerTo('KV Block Manager (KVBM)'));
  });
});

describe('the model against transformers', () => {
  it('selects the same greedy tokens with the same probabilities', () => {
    let steps = 0;
    let closeCalls = 0;
    for (const { name, promptTokenIds, tokenIds, gaps, logprobs } of fixture.cases) {
      const cache = model.createCache();
      let logits = model.forward(promptTokenIds, cache);
      for (const [step, tokenId] of tokenIds.entries()) {
        steps++;
        if (gaps[step]! > CLOSE_CALL) {
          expect(indexOfMax(logits), `${name}, step ${step}`).toBe(tokenId);
        } else {
          closeCalls++;
        }
        const sum = logits.reduce((total, logit) => total + Math.exp(logit - logits[tokenId]!), 0);
        expect(Math.abs(-Math.log(sum) - logprobs[step]!), `${name}, step ${step}`).toBeLessThan(1e-3);
        if (step + 1 < tokenIds.length) logits = model.forward([tokenId], cache);
      }
    }
    console.log(`${fixture.cases.length} prompts, ${steps} steps, ${closeCalls} with a gap of at most ${CLOSE_CALL}`);
    expect(fixture.cases.length).toBeGreaterThanOrEqual(24);
    expect(closeCalls).toBeLessThanOrEqual(steps / 100);
  });

  it('returns the same logits for every split of the prompt and every block size', () => {
    const promptTokenIds = caseNamed('long system message').promptTokenIds.slice(0, 250);
    const whole = model.forward(promptTokenIds, model.createCache());
    const cache = model.createCache(7);
    for (let start = 0; start < promptTokenIds.length; start += 101) {
      const logits = model.forward(promptTokenIds.slice(start, start + 101), cache);
      if (start + 101 < promptTokenIds.length) continue;
      for (const [id, logit] of logits.entries()) expect(Math.abs(logit - whole[id]!)).toBeLessThan(1e-3);
    }
    expect(cache.length).toBe(promptTokenIds.length);
  });
});

describe('generate', () => {
  const kvbm = caseNamed('trained: What is KVBM?');
  const eos = () => model.config.eosTokenIds[0]!;

  it('returns the answer of transformers and ends with eos', async () => {
    const { tokenIds, tokens, reason } = await answer(kvbm.promptTokenIds);
    expect(tokenIds).toEqual(kvbm.tokenIds);
    expect(tokenIds.at(-1)).toBe(eos());
    expect(reason).toBe('eos');
    for (const [step, token] of tokens.entries()) {
      expect(Math.abs(token.logprob - kvbm.logprobs[step]!)).toBeLessThan(1e-3);
      expect(token.topLogprobs).toBeUndefined();
    }
  });

  it('reports the most likely tokens, best first', async () => {
    const { tokens } = await answer(kvbm.promptTokenIds, { topLogprobs: 5, maxTokens: 4 });
    for (const token of tokens) {
      expect(token.topLogprobs).toHaveLength(5);
      expect(token.topLogprobs![0]).toEqual({ tokenId: token.tokenId, logprob: token.logprob });
      const logprobs = token.topLogprobs!.map((each) => each.logprob);
      expect(logprobs).toEqual([...logprobs].sort((a, b) => b - a));
    }
  });

  it('stops after maxTokens', async () => {
    const { tokenIds, reason } = await answer(kvbm.promptTokenIds, { maxTokens: 3 });
    expect(tokenIds).toEqual(kvbm.tokenIds.slice(0, 3));
    expect(reason).toBe('length');
  });

  it('stops after a stop token, which it yields', async () => {
    const stop = kvbm.tokenIds[4]!;
    const { tokenIds, reason } = await answer(kvbm.promptTokenIds, { stopTokenIds: [stop] });
    expect(tokenIds).toEqual(kvbm.tokenIds.slice(0, kvbm.tokenIds.indexOf(stop) + 1));
    expect(reason).toBe('stop');
  });

  it('continues after the end token with ignoreEos', async () => {
    const length = kvbm.tokenIds.length + 5;
    const { tokenIds, reason } = await answer(kvbm.promptTokenIds, { ignoreEos: true, maxTokens: length });
    expect(tokenIds.slice(0, kvbm.tokenIds.length)).toEqual(kvbm.tokenIds);
    expect(tokenIds).toHaveLength(length);
    expect(reason).toBe('length');
  });

  it('samples no end or stop token before minTokens', async () => {
    const stop = kvbm.tokenIds[1]!;
    const minTokens = kvbm.tokenIds.length + 3;
    const { tokenIds } = await answer(kvbm.promptTokenIds, {
      minTokens,
      stopTokenIds: [stop],
      maxTokens: minTokens + 8,
    });
    expect(tokenIds.length).toBeGreaterThanOrEqual(minTokens);
    expect(tokenIds.slice(0, minTokens)).not.toContain(eos());
    expect(tokenIds.slice(0, minTokens)).not.toContain(stop);
  });

  it('stops at the last position of the model', async () => {
    const maxPositions = kvbm.promptTokenIds.length + 4;
    const tensors = await loadSafetensors(`${folder}/model.safetensors`);
    const short = new Llama({ ...model.config, maxPositions }, tensors);
    const { tokenIds, reason } = await answer(kvbm.promptTokenIds, {}, short);
    expect(tokenIds).toEqual(kvbm.tokenIds.slice(0, 4));
    expect(reason).toBe('length');

    const long = Array.from({ length: maxPositions }, () => 40);
    expect(() => generate(short, long)).toThrow(RangeError);
    expect(() => generate(short, long)).toThrow(`expected at most ${maxPositions - 1} tokens, got ${maxPositions}`);
    expect(() => short.forward([...long, 40], short.createCache())).toThrow(
      `expected at most ${maxPositions} tokens after 0 cached ones, got ${maxPositions + 1}`,
    );
  });

  it('continues from a cache with the start of the prompt', async () => {
    const cache = model.createCache();
    model.forward(kvbm.promptTokenIds.slice(0, 4), cache);
    const { tokenIds } = await answer(kvbm.promptTokenIds, { cache });
    expect(tokenIds).toEqual(kvbm.tokenIds);
    expect(cache.length).toBe(kvbm.promptTokenIds.length + tokenIds.length - 1);
  });

  it('ends as cancelled when its signal aborts', async () => {
    const controller = new AbortController();
    const tokenIds: number[] = [];
    let reason: FinishReason | undefined;
    for await (const event of generate(model, kvbm.promptTokenIds, { signal: controller.signal })) {
      if (event.type === 'finish') reason = event.reason;
      else if (tokenIds.push(event.tokenId) === 3) controller.abort();
    }
    expect(tokenIds).toEqual(kvbm.tokenIds.slice(0, 3));
    expect(reason).toBe('cancelled');
  });

  it('yields only cancelled if its signal was already aborted', async () => {
    const { tokenIds, reason } = await answer(kvbm.promptTokenIds, { signal: AbortSignal.abort() });
    expect(tokenIds).toEqual([]);
    expect(reason).toBe('cancelled');
  });

  it('interleaves concurrent answers', async () => {
    const order: string[] = [];
    const run = async (name: string) => {
      for await (const event of generate(model, kvbm.promptTokenIds, { maxTokens: 8 })) {
        if (event.type === 'token') order.push(name);
      }
    };
    await Promise.all([run('a'), run('b')]);
    expect(order.join('')).toBe('ab'.repeat(8));
  });
});

describe('generate rejects', () => {
  const badCalls: [string, readonly number[], GenerateOptions, string, ErrorConstructor][] = [
    ['an empty prompt', [], {}, 'expected at least one token, got none', TypeError],
    [
      'a token outside the vocabulary',
      [1, 1024],
      {},
      'promptTokenIds[1]: expected a token id from 0 to 1023, got 1024',
      RangeError,
    ],
    ['a negative token', [-1], {}, 'promptTokenIds[0]: expected a token id from 0 to 1023, got -1', RangeError],
    ['a fraction as token', [1.5], {}, 'promptTokenIds[0]: expected an integer, got 1.5', TypeError],
    ['a bad stop token', [1], { stopTokenIds: [5000] }, 'options.stopTokenIds[0]: expected a token id', RangeError],
    ['no tokens at all', [1], { maxTokens: 0 }, 'options.maxTokens: expected 1 or more, got 0', RangeError],
    ['half a token', [1], { maxTokens: 1.5 }, 'options.maxTokens: expected an integer, got 1.5', TypeError],
    ['negative minTokens', [1], { minTokens: -1 }, 'options.minTokens: expected 0 or more, got -1', RangeError],
    [
      'a negative temperature',
      [1],
      { temperature: -1 },
      'options.temperature: expected a number from 0, got -1',
      RangeError,
    ],
  ];
  it.each(badCalls)('%s', (_, prompt, options, message, kind) => {
    const call = () => generate(model, prompt, options);
    expect(call).toThrow(kind);
    expect(call).toThrow(message);
  });

  it('a cache with the whole prompt', () => {
    const cache = model.createCache();
    model.forward([1, 2], cache);
    expect(() => generate(model, [1, 2], { cache })).toThrow(
      'options.cache: expected fewer cached tokens than the 2 of the prompt, got 2',
    );
  });
});
