import { loadNixl } from 'dynamo-node';
import {
  askSideChannel,
  KEEP_BLOCKS,
  shapeFor,
  shapeOf,
  VllmKvEvents,
  VllmKvStore,
  type VllmOffer,
} from 'dynamo-node/vllm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decode, difference, prefill, promptsOf, worstDifference, writeTo } from '../helpers/vllm/oracle.js';
import { exponent, milliseconds, seen } from '../helpers/vllm/report.js';
import { BLOCK_SIZE, type Completion, MODEL, READY_MS, VllmServer, vllmMissing } from '../helpers/vllm/serve.js';

const ANSWER = 24;
const COMPATIBILITY = {
  vllmVersion: '0.32.0',
  model: MODEL,
  dtype: 'torch.float32',
  kvHeads: 2,
  headDim: 32,
  layers: 4,
  attentionBackend: 'CPU_ATTN',
};

let server: VllmServer;
let store: VllmKvStore;
let events: VllmKvEvents;
let salt = 0;
/** A salt that no request had: the worker has nothing cached for it. */
const freshSalt = (): string => `salt-${++salt}`;

/** What vLLM answers by itself. */
const aggregated = (prompt: readonly number[]): Promise<Completion> =>
  server.complete(prompt, ANSWER, { salt: freshSalt() });

beforeAll(async () => {
  if (vllmMissing !== undefined) throw new Error(vllmMissing);
  let target: VllmKvStore | undefined;
  events = await VllmKvEvents.listen({ port: 0, onEvent: (event) => target?.applyEvent(event) });
  server = await VllmServer.start({ bidirectional: true, policy: 'recompute', eventPort: events.port });
  const shape = shapeOf(await askSideChannel(server.side));
  store = target = await VllmKvStore.create({ shape, blockCount: 1024, bidirectional: true, eventWaitMs: 5000 });
  await store.connect(server.side);
}, READY_MS);
afterAll(async () => {
  await store?.close();
  await events?.close();
  await server?.stop();
});

/** The first request of a server compiles something. */
it('has a worker that answers', async () => {
  const { ms, status } = await server.complete(promptsOf([40])[0] as number[], 2);
  expect(status).toBe(200);
  seen('first request of a vLLM', milliseconds(ms));
});

describe('the side channel of vLLM 0.32.0', () => {
  it('has the shape and the hash that are computed without it', async () => {
    const shape = shapeFor({ compatibility: COMPATIBILITY, blockSize: BLOCK_SIZE, elementType: 'float32' });
    expect(store.shape).toEqual(shape);
    expect(loadNixl().kind).toBe('real');
    seen('compatibility hash and shape, computed and asked', 'equal');
  });
});

describe('Node.js as the reader of a prefill', () => {
  it.each(promptsOf([99, 191, 463, 1010]))('continues a prefill of vLLM in TypeScript', async (...prompt) => {
    const expected = await aggregated(prompt);
    const { params, status } = await server.complete(prompt, 1, { params: KEEP_BLOCKS });
    expect(status).toBe(200);
    const start = performance.now();
    const kept = await store.keep(prompt, params);
    const ms = performance.now() - start;
    expect(kept).toMatchObject({ tokens: prompt.length, blocks: Math.ceil(prompt.length / BLOCK_SIZE) });
    using stored = await store.read(prompt);
    if (stored === undefined) throw new Error('nothing is stored');
    expect(stored.tokens).toBe(prompt.length);
    const worst = await worstDifference(stored, prompt);
    const answer = await decode(stored, prompt, ANSWER);
    const logprobs = difference(answer.logprobs, expected.logprobs);
    seen(
      `vLLM prefills ${prompt.length} tokens, Node reads ${kept.bytes} B and decodes`,
      `KV differs by ${exponent(worst)}, ${ANSWER} of ${ANSWER} tokens equal, logprobs by ${exponent(logprobs)}; ` +
        `${milliseconds(ms)}`,
    );
    expect(worst).toBeLessThan(1e-4);
    expect(answer.tokens).toEqual(expected.tokens);
    expect(logprobs).toBeLessThan(1e-4);
  });

  it('names the blocks by the hashes of the KV events', () => {
    const { knownBlocks, namedBlocks, unplacedEvents } = store.statistics();
    seen(
      'KV events',
      `${namedBlocks} of ${knownBlocks} blocks have vLLM's hash, ${unplacedEvents} events without a place`,
    );
    // The last block of each prompt is not full, so it has no hash.
    expect(namedBlocks).toBeGreaterThan(40);
    expect(knownBlocks - namedBlocks).toBeLessThan(8);
    expect(unplacedEvents).toBe(0);
  });
});

describe('vLLM as the reader of Node.js', () => {
  it.each(promptsOf([98, 180, 470, 1000]))('decodes from what TypeScript has prefilled', async (...prompt) => {
    const expected = await aggregated(prompt);
    const { cache } = await prefill(prompt);
    expect(writeTo(store, prompt, cache)).toBe(true);
    const before = await server.metric('vllm:external_prefix_cache_hits_total');
    const offer = (await store.offer(prompt)) as VllmOffer;
    expect(offer.kind).toBe('whole');
    const answer = await server.complete(prompt, ANSWER, { params: offer.params, salt: freshSalt() });
    expect(answer.status).toBe(200);
    expect(await offer.ended).toBe('read');
    const hits = (await server.metric('vllm:external_prefix_cache_hits_total')) - before;
    const logprobs = difference(answer.logprobs, expected.logprobs);
    seen(
      `Node prefills ${prompt.length} tokens, vLLM decodes`,
      `external hits ${hits} of ${prompt.length}, tokens equal, logprobs differ by ${exponent(logprobs)}; ` +
        `${milliseconds(answer.ms)}`,
    );
    expect(hits).toBe(prompt.length);
    expect(answer.tokens).toEqual(expected.tokens);
    expect(logprobs).toBeLessThan(1e-4);
    // Bidirectional workers keep the blocks of every answer.
    if (answer.params) await store.keep([...prompt, ...answer.tokens], answer.params);
  });

  it('takes a part of a prompt, computes the rest, and returns all of it', async () => {
    const [prompt] = promptsOf([170]) as [number[]];
    const longer = [...prompt, ...(promptsOf([1, 30])[1] as number[])];
    const expected = await aggregated(longer);
    const { cache } = await prefill(prompt);
    writeTo(store, prompt, cache);
    const offer = (await store.offer(longer)) as VllmOffer;
    expect(offer).toMatchObject({ kind: 'partial', tokens: 160 });
    const answer = await server.complete(longer, ANSWER, { params: offer.params, salt: freshSalt() });
    expect(await offer.ended).toBe('read');
    expect(answer.tokens).toEqual(expected.tokens);
    const all = [...longer, ...answer.tokens];
    const kept = await store.keep(all, answer.params);
    using stored = await store.read(all.slice(0, kept.tokens));
    expect(stored?.tokens).toBe(kept.tokens);
    const worst = await worstDifference(stored as NonNullable<typeof stored>, all.slice(0, kept.tokens));
    seen(
      `Node has 160 of ${longer.length} tokens, vLLM computes the rest, Node reads back ${kept.tokens}`,
      `tokens equal, logprobs differ by ${exponent(difference(answer.logprobs, expected.logprobs))}, ` +
        `KV by ${exponent(worst)}`,
    );
    expect(worst).toBeLessThan(1e-4);
  });

  it('decodes 12 prompts in parallel, 3 times', async () => {
    const prompts = promptsOf(Array.from({ length: 12 }, (_, index) => 76 + 46 * index));
    const expected = await Promise.all(prompts.map(aggregated));
    await Promise.all(
      prompts.map(async (prompt) => {
        const { params } = await server.complete(prompt, 1, { params: KEEP_BLOCKS });
        await store.keep(prompt, params);
      }),
    );
    let equal = 0;
    for (let round = 0; round < 3; round++) {
      const answers = await Promise.all(
        prompts.map(async (prompt) => {
          const offer = (await store.offer(prompt)) as VllmOffer;
          const answer = await server.complete(prompt, ANSWER, { params: offer.params, salt: freshSalt() });
          expect(await offer.ended).toBe('read');
          if (answer.params) await store.keep([...prompt, ...answer.tokens], answer.params);
          return answer;
        }),
      );
      equal += answers.filter(({ tokens }, index) => String(tokens) === String(expected[index]?.tokens)).length;
    }
    const { hitRate, readBytes, keptBytes } = store.statistics();
    seen(
      '12 prompts in parallel, 3 rounds, from the store',
      `${equal} of 36 answers equal; hit rate ${hitRate.toFixed(2)}, ` +
        `${(readBytes / 1e6).toFixed(1)} MB offered and read, ${(keptBytes / 1e6).toFixed(1)} MB kept`,
    );
    expect(equal).toBe(36);
  });

  it('is not slower from the store than it computes', async () => {
    const [prompt] = promptsOf([1000]) as [number[]];
    const [cold, warm]: [number[], number[]] = [[], []];
    for (let run = 0; run < 5; run++) {
      cold.push((await server.complete(prompt, 1, { salt: freshSalt() })).ms);
      const offer = (await store.offer(prompt)) as VllmOffer;
      const answer = await server.complete(prompt, 1, { params: offer.params, salt: freshSalt() });
      warm.push(answer.ms);
      if (answer.params) await store.keep([...prompt, ...answer.tokens], answer.params);
    }
    const middle = (values: number[]): number => values.sort((a, b) => a - b)[2] as number;
    seen(
      'first token of 1000 tokens: computed, from the store (median of 5)',
      `${milliseconds(middle(cold))}, ${milliseconds(middle(warm))}`,
    );
    expect(middle(warm)).toBeLessThan(middle(cold) * 3);
  });
});

describe('the death of a worker', () => {
  it(
    'leaves the store as it is: a worker that starts cold is served from it',
    async () => {
      const prompts = promptsOf([99, 191, 463, 1010]);
      const expected = await Promise.all(prompts.map(aggregated));
      const offer = (await store.offer(prompts[0] as number[])) as VllmOffer;
      await server.program.kill();
      offer.withdraw();
      server = await VllmServer.start({ role: 'kv_consumer', policy: 'recompute' });
      const worst: number[] = [];
      let first = 0;
      for (const [index, prompt] of prompts.entries()) {
        const whole = (await store.offer(prompt)) as VllmOffer;
        expect(whole.kind).toBe('whole');
        const answer = await server.complete(prompt, ANSWER, { params: whole.params });
        if (index === 0) first = answer.ms;
        expect(await whole.ended).toBe('read');
        expect(answer.tokens).toEqual(expected[index]?.tokens);
        worst.push(difference(answer.logprobs, expected[index]?.logprobs ?? []));
      }
      const hits = await server.metric('vllm:external_prefix_cache_hits_total');
      seen(
        'vLLM killed, another started cold, 4 prompts from the store',
        `all tokens equal, logprobs differ by ${exponent(Math.max(...worst))}, ${hits} external hits; ` +
          `first answer ${milliseconds(first)}`,
      );
      expect(Math.max(...worst)).toBeLessThan(1e-4);
    },
    READY_MS,
  );
});
