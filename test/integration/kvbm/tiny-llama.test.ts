import { BlockManager, DistributedRuntime, Frontend, type KvCacheEvent, serveEngine, TokenSequence } from 'dynamo-node';
import { describe, expect, it } from 'vitest';
import { modelPath, publish, TinyLlamaEngine } from '../../../examples/tiny-llama/engine.js';
import { Llama } from '../../../examples/tiny-llama/model.js';
import { KvPool, type PagedKvCache } from '../../../examples/tiny-llama/paged-cache.js';
import { closeAfterEach } from '../../helpers/closing.js';
import { compareAnswers } from '../../helpers/kvbm/cached-answers.js';
import { privateCluster } from '../../helpers/runtime/cluster.js';
import { waitFor } from '../../helpers/wait.js';

process.env['DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS'] = '0';

const onEnd = closeAfterEach();

describe('the tiny Llama with its KV cache in blocks', () => {
  it('returns the same answers as without a cache, with shared prefixes and evictions', async () => {
    const result = await compareAnswers(60, 1);
    expect(result.different).toEqual([]);
    expect(result.equal + result.ties).toBe(60);
    expect(result.ties).toBeLessThan(3);
    expect(result.cachedTokens).toBeGreaterThan(result.promptTokens / 4);
    expect(result.evictions).toBeGreaterThan(20);
    expect(result.blocksLeft).toBe(48);
  });

  it('rejects answers larger than its pool, and lets waiting ones continue or be cancelled', async () => {
    const { config } = await Llama.load(modelPath);
    using pool = new KvPool(config, { blockCount: 4, blockSize: 8 });
    await expect(pool.open([1, 2, 3], 40, 1)).rejects.toThrow(
      /4 blocks of 8 tokens: 1 answers of 40 tokens do not fit/,
    );
    const [first] = await pool.open([1, 2, 3], 24, 1);
    const abort = new AbortController();
    const cancelled = pool.open([4], 16, 1, abort.signal);
    const waited = pool.open([5], 16, 1);
    abort.abort(new Error('enough'));
    await expect(cancelled).rejects.toThrow('enough');
    pool.close(first as NonNullable<typeof first>);
    expect((await waited).length).toBe(1);
    expect(pool.manager).toBeInstanceOf(BlockManager);
  });

  it('publishes the present contents when its blocks change faster than they are read', async () => {
    using manager = new BlockManager({ tier: 'device', blockCount: 8, blockSize: 8, events: { capacity: 2 } });
    const present = new Set<bigint>();
    let clears = 0;
    const publishKvEvents = (events: readonly KvCacheEvent[]): boolean => {
      for (const { data } of events) {
        if (data === 'cleared') {
          present.clear();
          clears += 1;
        } else if ('stored' in data) for (const { block_hash } of data.stored.blocks) present.add(BigInt(block_hash));
        else for (const hash of data.removed.block_hashes) present.delete(BigInt(hash));
      }
      return true;
    };
    const published = publish(manager, { publishKvEvents });
    await waitFor('the first snapshot', () => clears);
    let last: bigint[] = [];
    for (let seed = 1; seed <= 20; seed++) {
      using sequence = new TokenSequence(Array<number>(64).fill(seed), { blockSize: 8 });
      manager.allocateOrThrow(8).stage(sequence).register().dispose();
      last = [...sequence.sequenceHashes()].sort();
    }
    await waitFor(
      'what is there',
      () => [...present].sort().join(),
      (names) => names === last.join(),
    );
    expect(clears).toBeGreaterThan(1);
    manager.dispose();
    await published;
  });

  it('shares the blocks of a common prefix between concurrent sequences', async () => {
    const model = await Llama.load(modelPath);
    using pool = new KvPool(model.config, { blockCount: 16, blockSize: 8 });
    const prompt = Array.from({ length: 20 }, (_, index) => index + 3);
    const open = async (tokens: number[]) => (await pool.open(tokens, 24, 1))[0] as PagedKvCache;
    const first = await open(prompt);
    model.forward(prompt, first);
    const before = pool.manager.available;
    const [second, other] = [await open(prompt), await open([...prompt.slice(0, 8), 99, 98])];
    expect([first, second, other].map(({ cachedTokens }) => cachedTokens)).toEqual([0, 16, 8]);
    expect([...second.blockIds.subarray(0, 2)]).toEqual([...first.blockIds.subarray(0, 2)]);
    expect(other.blockIds[0]).toBe(first.blockIds[0]);
    expect(new Set([first, second, other].flatMap(({ blockIds }) => [...blockIds])).size).toBe(3 + 1 + 2);
    // Three pages each. The second sequence shares two of them, the third shares one.
    expect(before - pool.manager.available).toBe(1 + 2);
    for (const cache of [first, second, other]) pool.close(cache);
    expect(pool.manager.available).toBe(16);
  });

  it('reports the number of cached prompt tokens to an OpenAI client', async () => {
    const cluster = privateCluster();
    onEnd(() => cluster.remove());
    const runtime = await DistributedRuntime.create(cluster.options);
    onEnd(() => runtime.close());
    const engine = new TinyLlamaEngine('tiny-llama', { blockSize: 16, blockCount: 64 });
    const served = await serveEngine(runtime.endpoint('test.backend.generate'), engine, { modelPath });
    onEnd(() => served.close());
    const frontend = await Frontend.start(cluster.options, {
      host: '127.0.0.1',
      port: 0,
      router: { mode: 'kv', kv: { router_temperature: 0 } },
    });
    onEnd(() => frontend.close());
    await frontend.waitForModel('tiny-llama');
    const complete = async (content: string): Promise<{ answer: string; prompt: number; cached: number }> => {
      const response = await fetch(`${frontend.url}/v1/chat/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({
          model: 'tiny-llama',
          messages: [
            { role: 'system', content: 'You know Dynamo and answer in one sentence, the first of its glossary.' },
            { role: 'user', content },
          ],
          max_tokens: 24,
          temperature: 0,
        }),
      });
      const text = await response.text();
      expect(response.status, text).toBe(200);
      const { choices, usage } = JSON.parse(text) as {
        choices: { message: { content: string } }[];
        usage: { prompt_tokens: number; prompt_tokens_details?: { cached_tokens?: number } };
      };
      return {
        answer: choices[0]?.message.content ?? '',
        prompt: usage.prompt_tokens,
        cached: usage.prompt_tokens_details?.cached_tokens ?? -1,
      };
    };
    const first = await complete('What is KVBM?');
    const second = await complete('What is KVBM?');
    expect(first.cached).toBe(0);
    expect(second).toEqual({ ...first, cached: Math.floor((first.prompt - 1) / 16) * 16 });
    expect(second.cached).toBeGreaterThan(15);
    const other = await complete('What is NIXL?');
    expect(other.cached).toBeGreaterThan(0);
    expect(other.cached).toBeLessThanOrEqual(second.cached);
  });
});
