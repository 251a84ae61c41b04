import { readFileSync } from 'node:fs';
import { type LLMEngineOutput, PagedSequence, type PreprocessedRequest } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';
import { modelPath, TinyLlamaEngine } from '../../../examples/tiny-llama/engine.js';
import { KvPool, type PagedKvCache } from '../../../examples/tiny-llama/paged-cache.js';
import { ParallelLlama } from '../../../examples/tiny-llama/tensor-parallel.js';
import { root } from '../../helpers/project.js';
import { waitFor } from '../../helpers/wait.js';

interface Fixture {
  readonly cases: readonly {
    readonly name: string;
    readonly promptTokenIds: readonly number[];
    readonly tokenIds: readonly number[];
    readonly gaps: readonly number[];
  }[];
}

const { cases } = JSON.parse(readFileSync(`${root}/test/fixtures/tiny-llama-greedy.json`, 'utf8')) as Fixture;
const longPrompt = cases.find(({ name }) => name === 'long system message') as (typeof cases)[number];
/** Two logits that differ by less may change places when sums are in another order. */
const CLOSE_CALL = 1e-4;

class Engine extends TinyLlamaEngine {
  get ranks(): ParallelLlama {
    return this.model as ParallelLlama;
  }

  /** A sequence with the cached blocks of a prompt. */
  sequenceOf(tokens: readonly number[]): PagedSequence {
    return PagedSequence.create(this.pool.manager, tokens) as PagedSequence;
  }
}

async function start(tensorParallelSize: number, settings = {}): Promise<Engine> {
  const engine = new Engine('tiny-llama', { blockSize: 16, blockCount: 512, ...settings, tensorParallelSize });
  onTestFinished(() => engine.cleanup());
  await engine.start();
  return engine;
}

function request(tokens: ArrayLike<number>, maxTokens: number, more: object = {}): PreprocessedRequest {
  return {
    model: 'tiny-llama',
    token_ids: Uint32Array.from(tokens),
    stop_conditions: { max_tokens: maxTokens, ignore_eos: true },
    sampling_options: {},
    output_options: {},
    eos_token_ids: [],
    annotations: [],
    ...more,
  } as PreprocessedRequest;
}

const context = (signal: AbortSignal = new AbortController().signal) =>
  ({ id: 'request', metadata: {}, signal, notifyFirstToken: () => {} }) as never;

async function tokensOf(items: AsyncIterable<LLMEngineOutput>): Promise<number[]> {
  const tokens: number[] = [];
  for await (const { token_ids } of items) tokens.push(...token_ids);
  return tokens;
}

const ask = (engine: TinyLlamaEngine, tokens: ArrayLike<number>, count: number): Promise<number[]> =>
  tokensOf(engine.generate(request(tokens, count), context()));

const isRunning = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

const waitForEnd = (pids: readonly number[]) =>
  waitFor(
    'the end of the ranks',
    () => pids.filter(isRunning),
    (running) => running.length === 0,
    10_000,
  );

describe('an engine with two ranks', () => {
  it('returns the greedy tokens of one process for every prompt of the fixture', async () => {
    const engine = await start(2);
    let [steps, closeCalls] = [0, 0];
    for (const { name, promptTokenIds, tokenIds, gaps } of cases) {
      const tokens = await ask(engine, promptTokenIds, tokenIds.length);
      const close = gaps.findIndex((gap) => gap <= CLOSE_CALL);
      const count = close === -1 ? tokenIds.length : close;
      expect(tokens.slice(0, count), name).toEqual(tokenIds.slice(0, count));
      steps += tokenIds.length;
      closeCalls += tokenIds.length - count;
    }
    console.log(`${cases.length} prompts, ${steps} tokens, ${closeCalls} after a close call`);
    expect(closeCalls).toBeLessThanOrEqual(steps / 100);
  });

  it('answers concurrent requests, and several choices, as one process does', async () => {
    const [one, two] = [await start(1), await start(2)];
    const answers = (engine: TinyLlamaEngine) =>
      Promise.all(cases.slice(0, 6).map(({ promptTokenIds }) => ask(engine, promptTokenIds, 12)));
    expect(await answers(two)).toEqual(await answers(one));
    const { promptTokenIds } = cases[0] as (typeof cases)[number];
    const choices = request(promptTokenIds, 8, { sampling_options: { n: 3, temperature: 1, seed: 7 } });
    expect(await tokensOf(two.generate(choices, context()))).toEqual(await tokensOf(one.generate(choices, context())));
  });

  it('gives its ranks the blocks of a cached prefix', async () => {
    const engine = await start(2);
    const { promptTokenIds, tokenIds } = longPrompt;
    const first = await ask(engine, promptTokenIds, tokenIds.length);
    const again: LLMEngineOutput[] = [];
    for await (const item of engine.generate(request(promptTokenIds, tokenIds.length), context())) again.push(item);
    expect(again.flatMap(({ token_ids }) => [...token_ids])).toEqual(first);
    const { prompt_tokens_details } = again[0]?.completion_usage ?? {};
    expect(prompt_tokens_details?.cached_tokens).toBeGreaterThanOrEqual(promptTokenIds.length - 16);
  });

  it('keeps the whole heads in its pool, as a worker without ranks does', async () => {
    const tokens = longPrompt.promptTokenIds.slice(0, 40);
    const blockOf = async (engine: Engine): Promise<Float32Array> => {
      await ask(engine, tokens, 1);
      using sequence = engine.sequenceOf(tokens);
      expect(sequence.cachedTokens).toBe(32);
      return new Float32Array(sequence.page(1).slice().buffer);
    };
    const [whole, joined] = [await blockOf(await start(1)), await blockOf(await start(2))];
    expect(joined.length).toBe(whole.length);
    const difference = joined.reduce((most, value, at) => Math.max(most, Math.abs(value - whole[at]!)), 0);
    expect(difference).toBeLessThan(1e-4);
    expect(whole.filter((value) => value !== 0).length).toBeGreaterThan(whole.length / 2);
  });

  it('ends its processes with the engine', async () => {
    const engine = await start(2);
    const pids = engine.ranks.processIds;
    expect(pids.filter(isRunning)).toHaveLength(1);
    await engine.cleanup();
    expect(pids.filter(isRunning)).toEqual([]);
  });
});

describe('an engine whose rank is killed', () => {
  it('fails requests with DYN_UNAVAILABLE, also those that come later, and can be cleaned up', async () => {
    const engine = await start(2);
    const { ranks } = engine;
    const { promptTokenIds } = cases[0] as (typeof cases)[number];
    const unavailable = expect.objectContaining({
      name: 'DynamoError',
      code: 'DYN_UNAVAILABLE',
      message: 'rank 1 of 2 has ended; start the engine again',
    });
    const items = engine.generate(request(promptTokenIds, 2000), context());
    await items.next();
    process.kill(ranks.processIds[0] as number, 'SIGKILL');
    await expect(tokensOf(items)).rejects.toEqual(unavailable);
    await expect(ask(engine, promptTokenIds, 1)).rejects.toEqual(unavailable);
    expect(await ranks.failed).toEqual(unavailable);
    await engine.cleanup();
    await waitForEnd(ranks.processIds);
  });
});

describe('a model whose rank is stopped', () => {
  it('fails with DYN_UNAVAILABLE when the time of a pass is over, and ends the rank', async () => {
    await using model = await ParallelLlama.load(modelPath, 2, 16, 1000);
    using pool = new KvPool(model.config, { blockSize: 16, blockCount: 16 });
    const [cache] = await pool.open([5, 6, 7], 16, 1);
    await model.forward([5, 6, 7], cache as PagedKvCache);
    process.kill(model.processIds[0] as number, 'SIGSTOP');
    await expect(model.forward([8], cache as PagedKvCache)).rejects.toMatchObject({
      code: 'DYN_UNAVAILABLE',
      message: 'a rank has not answered within 1000 ms; start the engine again',
    });
    await model.close();
    await waitForEnd(model.processIds);
    pool.close(cache as PagedKvCache);
  });
});

describe('a model that cannot be split', () => {
  it('is rejected with RangeError', async () => {
    await expect(ParallelLlama.load(modelPath, 4, 16)).rejects.toThrow(
      "tensorParallelSize: expected a divisor of the model's 2 kvHeads, got 4",
    );
  });
});
