import { beforeEach, describe, expect, it } from 'vitest';
import {
  complete,
  completion,
  disaggregated,
  expectBaseline,
  greedyCases,
  SMALL,
  serveDecode,
  servePrefill,
} from '../../helpers/disagg/deployment.js';
import { compareDisaggregated } from '../../helpers/disagg/trial.js';
import { deployments } from '../../helpers/llm/deployments.js';
import { nixlMissing } from '../../helpers/nixl/library.js';
import { waitFor } from '../../helpers/wait.js';

const deployment = deployments();
/** If the two best logits are closer than this, either token may be chosen. */
const TIE = 1e-4;

const KINDS = ['mock', 'real'] as const;
const STYLES = [
  ['prefill first', false],
  ['prefill and decode together', true],
] as const;

describe.each(KINDS)('a disaggregated tiny Llama over %s NIXL', (nixl) => {
  beforeEach(({ skip }) => {
    const missing = nixl === 'real' ? nixlMissing() : undefined;
    skip(missing !== undefined, missing);
  });

  it.each(STYLES)('answers with the tokens of transformers, %s', async (_, bootstrap) => {
    const options = { prefillOptions: { nixl, bootstrap }, decodeOptions: { nixl } };
    const all = await disaggregated(deployment(), options);
    // The prompts of a thousand tokens take seconds each: once is enough.
    const cases = nixl === 'real' && bootstrap ? greedyCases : greedyCases.slice(0, 24);
    for (const { name, text, promptTokenIds, tokenIds, gaps } of cases) {
      const answer = await completion(all.frontend, promptTokenIds, { max_tokens: tokenIds.length });
      if (gaps.every((gap) => gap > TIE)) expect(answer.text, name).toBe(text);
    }
    expect(all.reports.map(({ promptTokens }) => promptTokens)).toEqual(
      cases.map(({ promptTokenIds }) => promptTokenIds.length),
    );
    const moved = all.reports.filter(({ bytes }) => bytes > 0);
    expect(moved.length).toBeGreaterThan(cases.length / 2);
    for (const { bytes, blocks, waitMs, library } of moved) {
      expect([bytes / blocks, library]).toEqual([all.decode[0]?.engine.receiver.manager.blockBytes, nixl]);
      if (!bootstrap) expect(waitMs).toBe(0);
    }
    expect(all.reports.some(({ waitMs }) => waitMs > 0)).toBe(bootstrap);
    await expectBaseline(all);
  });
});

describe('a disaggregated tiny Llama', () => {
  const nixl = nixlMissing() === undefined ? 'real' : 'mock';
  const PROMPTS = 40;

  it.each([
    [1, 1],
    [2, 1],
    [1, 2],
    [3, 2],
  ])('answers as the aggregated model, with %iP%iD and prefixes cached on both sides', async (prefill, decode) => {
    const options = { prefill, decode, prefillOptions: { nixl }, decodeOptions: { nixl } } as const;
    const all = await disaggregated(deployment(), options);
    const result = await compareDisaggregated(all, PROMPTS, 10 * prefill + decode);
    expect(result.different).toEqual([]);
    expect(result.equal + result.ties).toBe(PROMPTS);
    expect(result.ties).toBeLessThanOrEqual(PROMPTS / 20);
    expect([result.cachedAtPrefill > 0, result.cachedAtDecode > 0]).toEqual([true, true]);
    const busy = new Set(all.reports.map(({ prefillWorker }) => prefillWorker));
    expect([busy.size, all.decode.every(({ engine }) => engine.receiver.statistics().done > 0)]).toEqual([
      prefill,
      true,
    ]);
    await expectBaseline(all);
  });

  it('answers several choices of a request from one handoff', async () => {
    const all = await disaggregated(deployment());
    const [{ promptTokenIds, text, tokenIds }] = greedyCases as [(typeof greedyCases)[0]];
    const response = await complete(all.frontend, promptTokenIds, {
      n: 2,
      temperature: 0.01,
      max_tokens: tokenIds.length,
    });
    expect(response.status, await response.clone().text()).toBe(200);
    const { choices } = (await response.json()) as { choices: { text: string }[] };
    expect(choices.map((choice) => choice.text)).toEqual([text, text]);
    expect(all.prefill[0]?.engine.offers.statistics()).toMatchObject({ failed: 0, expired: 0, abandoned: 0 });
    await expectBaseline(all);
  });

  it('answers alone if the prefill ends at the first token', async () => {
    const all = await disaggregated(deployment());
    const { promptTokenIds, tokenIds } = greedyCases[0] as (typeof greedyCases)[0];
    const answer = await completion(all.frontend, [...promptTokenIds, ...tokenIds.slice(0, -1)], { max_tokens: 5 });
    expect(answer).toMatchObject({ text: '' });
    expect(all.reports).toEqual([]);
    await expectBaseline(all);
  });

  it('answers with 502 if the workers do not fit together, and with an error if the pool is too small', async () => {
    const here = deployment();
    await servePrefill(here);
    const { engine } = await serveDecode(here, { ...SMALL, cache: { blockSize: 32, blockCount: 64 } });
    const frontend = await here.frontend();
    await frontend.waitForModel('tiny-llama');
    const { promptTokenIds } = greedyCases[0] as (typeof greedyCases)[0];
    await waitFor(
      'a handoff',
      async () => {
        const response = await complete(frontend, promptTokenIds, { max_tokens: 2 });
        await response.text();
        return [response.status, engine.receiver.statistics().failed > 0];
      },
      ([status, isFailed]) => status === 502 && isFailed === true,
    );

    const small = await disaggregated(deployment(), { decodeOptions: { cache: { blockSize: 16, blockCount: 4 } } });
    const long = greedyCases.find(({ promptTokenIds }) => promptTokenIds.length > 200) as (typeof greedyCases)[0];
    const refused = await complete(small.frontend, long.promptTokenIds, { max_tokens: 4 });
    expect(refused.status).toBeGreaterThanOrEqual(400);
    await expectBaseline(small);
    expect((await completion(small.frontend, promptTokenIds, { max_tokens: 2 })).completionTokens).toBe(2);
  });

  it.each(STYLES)(
    'frees the blocks of a client that goes away, and together stops the prefill: %s',
    async (_, bootstrap) => {
      const all = await disaggregated(deployment(), { prefillOptions: { bootstrap } });
      const long = greedyCases.find(({ promptTokenIds }) => promptTokenIds.length > 1500) as (typeof greedyCases)[0];
      const [{ engine }] = all.prefill as [(typeof all.prefill)[0]];
      const before = engine.offers.statistics();
      const { manager } = engine.offers;
      const abort = new AbortController();
      const asked = complete(all.frontend, long.promptTokenIds, { max_tokens: 4 }, { signal: abort.signal });
      await waitFor('the prefill', () => manager.blockCount - manager.available > 100);
      abort.abort();
      await expect(asked).rejects.toThrow();
      await expectBaseline(all);
      const { offered, failed, expired } = engine.offers.statistics();
      const ends = [offered - before.offered, failed - before.failed, expired];
      expect(ends).toEqual(bootstrap ? [0, 1, 0] : [1, 0, 0]);
    },
  );

  it('shows the phases of its requests in the metrics of its workers', async () => {
    const here = deployment();
    const runtime = await here.runtime();
    const { metrics } = runtime.endpoint('test.backend.generate');
    const all = await disaggregated(here, { prefillOptions: { metrics }, decodeOptions: { metrics } });
    const { promptTokenIds, tokenIds } = greedyCases[0] as (typeof greedyCases)[0];
    await completion(all.frontend, promptTokenIds, { max_tokens: tokenIds.length });
    const counts = [
      ...['prefill_seconds', 'kv_offer_seconds', 'cached_tokens'],
      ...['kv_transfer_latency_seconds', 'kv_transfer_bytes', 'kv_transfer_speed_gb_s'],
      ...['time_to_first_token_seconds', 'inter_token_latency_seconds', 'decode_seconds'],
    ].map((name) => new RegExp(`^dynamo_component_${name}_count\\{.*\\} [1-9]`, 'm'));
    const totals = [
      /^dynamo_component_kv_transfer_success_total\{.*\} [1-9]/m,
      /^dynamo_component_kv_offers_total\{.*outcome="taken".*\} [1-9]/m,
    ];
    // An engine ends after its last token was sent.
    await waitFor(
      'all phases',
      () => [...counts, ...totals].filter((metric) => !metric.test(runtime.metricsText())),
      (missing) => missing.length === 0,
    );
  });
});
