import {
  computeBlockHashes,
  computeSequenceHashes,
  formatExplanation,
  type KvRouter,
  type KvRouterConfig,
  SelectionService,
} from 'dynamo-node';
import { ConditionalMetrics } from 'dynamo-node/disagg';
import { describe, expect, it } from 'vitest';
import {
  completion,
  disaggregated,
  expectBaseline,
  type GreedyCase,
  greedyCases,
} from '../../helpers/disagg/deployment.js';
import { BLOCK_SIZE } from '../../helpers/llm/caching-engine.js';
import { deployments } from '../../helpers/llm/deployments.js';
import { DECODE_ENDPOINT, observers, type Parted, promptOf, startParted } from '../../helpers/router/disaggregated.js';
import { BATCH_TOKENS, KV_BLOCKS } from '../../helpers/router/disaggregated-engines.js';
import { waitForRow } from '../../helpers/router/prompts.js';
import { waitFor } from '../../helpers/wait.js';

const deployment = deployments();

const cached = promptOf(0, 20 * BLOCK_SIZE);
let seed = 0;
/** The cached prefix, and `length` tokens that no prompt had before. */
const withNew = (length: number): number[] => [...cached, ...promptOf(++seed, length)];
const uncached = (length: number): number[] => promptOf(++seed, length);

/** Lets the decode worker cache the prefix, and waits until the frontend knows it. */
async function cachePrefix({ ask, decode }: Parted): Promise<void> {
  await waitForRow('a cached prefix', async () => {
    await ask(withNew(1));
    return decode.cached.at(-1) === cached.length;
  });
}

const on = (config: KvRouterConfig = {}): KvRouterConfig => ({
  router_temperature: 0,
  conditional_disagg_enabled: true,
  ...config,
});

const byLoad = (policy: 'prefill_load' | 'isl_or_load') =>
  on({ conditional_disagg_policy: policy, conditional_disagg_prefill_busy_threshold: 1 });

/** Sends a prompt of more than a batch to the prefill worker, which keeps it until it is released. */
async function fillPrefill({ prefill, ask }: Parted): Promise<{ answer: Promise<unknown> }> {
  prefill.isHeld = true;
  const before = prefill.prompts.length;
  const answer = ask(uncached(2 * BATCH_TOKENS));
  await waitFor('the prompt in the prefill worker', () => prefill.prompts.length > before);
  return { answer };
}

describe('a frontend without conditional disaggregation', () => {
  it('sends every prompt to the prefill worker', async () => {
    const parted = await startParted(deployment(), { router_temperature: 0 });
    await cachePrefix(parted);
    const before = parted.prefill.prompts.length;
    expect(await parted.ask(withNew(4))).toBe('remote');
    expect(parted.prefill.prompts.slice(before)).toEqual([cached.length + 4]);
  });
});

describe('a frontend with isl_bounding', () => {
  it('lets the decode worker prefill few tokens, and the prefill worker many', async () => {
    const parted = await startParted(deployment(), on());
    await cachePrefix(parted);
    const before = parted.prefill.prompts.length;
    for (const length of [1, 16, 40, 320]) expect(await parted.ask(withNew(length)), `${length}`).toBe('local');
    expect(parted.prefill.prompts.slice(before), 'no call of the prefill worker').toEqual([]);
    // 2048 tokens are too many. 800 of 1120 are more than 0.7 of the prompt.
    for (const length of [2048, 800]) expect(await parted.ask(withNew(length)), `${length}`).toBe('remote');
    expect(parted.prefill.prompts.slice(before)).toEqual([cached.length + 2048, cached.length + 800]);
  });

  it('sends an uncached prompt to the prefill worker, however short', async () => {
    const parted = await startParted(deployment(), on({ conditional_disagg_eff_isl_ratio_threshold: 1 }));
    for (const length of [1, 17]) expect(await parted.ask(uncached(length))).toBe('remote');
  });

  it('uses the thresholds of its configuration', async () => {
    const config = on({ conditional_disagg_eff_isl_threshold: 32, conditional_disagg_eff_isl_ratio_threshold: 0.05 });
    const parted = await startParted(deployment(), config);
    await cachePrefix(parted);
    const places = [];
    for (const length of [1, 16, 24, 32]) places.push(await parted.ask(withNew(length)));
    expect(places).toEqual(['local', 'local', 'remote', 'remote']);
  });

  it('keeps prefill away from a decode worker above decode_busy_threshold', async () => {
    // The prefix and 16 tokens more fill 21 of 1024 blocks.
    for (const [threshold, place] of [
      [20.5 / KV_BLOCKS, 'remote'],
      [22 / KV_BLOCKS, 'local'],
    ] as const) {
      const parted = await startParted(deployment(), on({ conditional_disagg_decode_busy_threshold: threshold }));
      await cachePrefix(parted);
      expect(await parted.ask(withNew(16)), `${threshold}`).toBe(place);
    }
  });
});

describe.each(['prefill_load', 'isl_or_load'] as const)('a frontend with %s', (policy) => {
  it('lets the decode worker prefill while the prefill worker is busy', async () => {
    const parted = await startParted(deployment(), byLoad(policy));
    expect(await parted.ask(uncached(3 * BATCH_TOKENS)), 'idle').toBe('remote');
    const { answer } = await fillPrefill(parted);
    const before = parted.prefill.prompts.length;
    for (const length of [20, 3 * BATCH_TOKENS]) expect(await parted.ask(uncached(length)), 'busy').toBe('local');
    expect(parted.prefill.prompts.slice(before), 'no call of the prefill worker').toEqual([]);
    parted.prefill.release();
    await answer;
    await waitFor(
      'an idle prefill worker',
      () => parted.ask(uncached(3 * BATCH_TOKENS)),
      (place) => place === 'remote',
    );
  });

  it(`${policy === 'prefill_load' ? 'ignores' : 'also counts'} the tokens to prefill`, async () => {
    const parted = await startParted(deployment(), byLoad(policy));
    await cachePrefix(parted);
    expect(await parted.ask(withNew(16))).toBe(policy === 'prefill_load' ? 'remote' : 'local');
    expect(await parted.ask(withNew(2048))).toBe('remote');
  });
});

describe('the decision of a frontend', () => {
  it('is what a router of the decode workers explains', async () => {
    const here = deployment();
    const config = on({ conditional_disagg_eff_isl_threshold: 200, conditional_disagg_decode_busy_threshold: 0.03 });
    const parted = await startParted(here, config);
    const { decode } = await observers(here, config);
    await cachePrefix(parted);
    await waitFor(
      'the prefix in the router',
      async () => (await explain(decode, withNew(1))).prefill?.place === 'local',
    );
    for (const length of [1, 16, 80, 160, 199, 200, 400, 2048]) {
      const tokens = withNew(length);
      const { prefill } = await explain(decode, tokens);
      expect(prefill).toMatchObject({ policy: 'isl_bounding', cachedTokens: cached.length, netNewTokens: length });
      expect(await parted.ask(tokens), `${length}: ${prefill?.reason}`).toBe(prefill?.place);
    }
    const tokens = uncached(64);
    expect((await explain(decode, tokens)).prefill?.place).toBe(await parted.ask(tokens));
    expect(formatExplanation(await explain(decode, withNew(160)))).toContain(
      'prefill is local: 160 tokens to prefill, below 200, and 0.33 of the prompt to prefill, below 0.7; ' +
        'the decode worker is not busy',
    );
  });

  it('is explained by a selection service of decode workers', async () => {
    const config = on({ conditional_disagg_decode_busy_threshold: 0.5 });
    await using router = await SelectionService.create({ config, workerType: 'decode' });
    await router.putWorker({ workerId: 1n, blockSize: BLOCK_SIZE, totalKvBlocks: 40 });
    const tokensHashes = computeBlockHashes(cached, BLOCK_SIZE);
    const blockHashes = computeSequenceHashes(tokensHashes);
    await router.apply([{ kind: 'stored', workerId: 1n, blockHashes, tokensHashes, startPosition: 0 }]);
    const tokens = withNew(40);
    const place = async (totalKvBlocks: number) => (await router.explain({ tokens }, { totalKvBlocks })).prefill;
    expect(await place(80)).toMatchObject({ place: 'local', netNewTokens: 40, isDecodeBusy: false });
    expect(await place(40)).toMatchObject({ place: 'remote', netNewTokens: 40, isDecodeBusy: true });
    expect((await router.explain({ tokens })).prefill?.reason).toContain('the decode worker has an unknown load');
  });

  it('lets the tiny Llama prefill on its decode worker, with the same tokens', async () => {
    const { name, text, promptTokenIds, tokenIds } = greedyCases.find(
      (each) => each.name === 'long system message',
    ) as GreedyCase;
    const all = await disaggregated(deployment(), { frontend: { router: { mode: 'kv', kv: on() } } });
    const ask = () => completion(all.frontend, promptTokenIds, { max_tokens: tokenIds.length });
    expect((await ask()).text, name).toBe(text);
    const transfers = all.reports.length;
    expect(transfers).toBe(1);
    await waitFor('an answer without a transfer', async () => {
      const before = all.reports.length;
      expect((await ask()).text, name).toBe(text);
      return all.reports.length === before;
    });
    await expectBaseline(all);
  });

  it('is explained with the load that the router of the prefill workers knows', async () => {
    const here = deployment();
    const config = byLoad('prefill_load');
    await startParted(here, config);
    const { prefill, decode } = await observers(here, config);
    const load = { prefillRouter: prefill, prefillBatchTokens: BATCH_TOKENS };
    const tokens = uncached(50);
    expect((await decode.explain({ tokens }, load)).prefill).toMatchObject({ place: 'remote', isPrefillBusy: false });
    const { id } = await prefill.reserve({ tokens: uncached(2 * BATCH_TOKENS) });
    expect((await decode.explain({ tokens }, load)).prefill).toMatchObject({ place: 'local', isPrefillBusy: true });
    await prefill.free(id);
    expect((await decode.explain({ tokens }, load)).prefill?.place).toBe('remote');
    expect((await decode.explain({ tokens })).prefill?.reason).toBe('the prefill worker has an unknown load');
    expect((await prefill.explain({ tokens })).prefill, 'of a router of prefill workers').toBeUndefined();
  });

  it('is counted by the decode worker, with its inputs', async () => {
    const parted = await startParted(deployment(), on());
    await cachePrefix(parted);
    parted.decode.metrics = new ConditionalMetrics(parted.decodeRuntime.endpoint(DECODE_ENDPOINT).metrics);
    const counted = () => {
      const text = parted.decodeRuntime.metricsText();
      const value = (name: string, place: string) => {
        const pattern = new RegExp(
          `^dynamo_component_conditional_disagg_${name}\\{[^}]*place="${place}"[^}]*\\} (.*)$`,
          'm',
        );
        return Number(pattern.exec(text)?.[1] ?? 0);
      };
      return ['local', 'remote'].map((place) => [
        value('decisions_total', place),
        value('prefill_tokens_sum', place),
        value('cached_tokens_total', place),
      ]);
    };
    expect(counted()).toEqual([
      [0, 0, 0],
      [0, 0, 0],
    ]);
    for (const length of [16, 32]) await parted.ask(withNew(length));
    await parted.ask(uncached(64));
    expect(counted()).toEqual([
      [2, 48, 2 * cached.length],
      [1, 64, 0],
    ]);
    expect(parted.decodeRuntime.metricsText()).toMatch(
      /conditional_disagg_decisions_total\{.*decider="router".*reason="policy"/,
    );
  });
});

const explain = (router: KvRouter, tokens: number[]) => router.explain({ tokens }, { totalKvBlocks: KV_BLOCKS });
