import {
  ClosedError,
  FirstTokenSource,
  type GenerateContext,
  KvRouter,
  type LLMEngine,
  type LLMEngineOutput,
} from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';
import { deployments } from '../../helpers/llm/deployments.js';
import { CountingEngine } from '../../helpers/llm/engines.js';
import { waitFor, waitForPause } from '../../helpers/wait.js';

const deployment = deployments();

const PATH = 'test.backend.generate';
const prompt = Uint32Array.from({ length: 320 }, (_, index) => index);

/** A router with one worker, and the number of tokens that wait for prefill there, as the router counts them. */
async function counted(here: ReturnType<typeof deployment>) {
  const runtime = await here.runtime();
  const router = await KvRouter.create(runtime.endpoint(PATH), { blockSize: 16 });
  onTestFinished(() => router.close());
  await waitFor(
    'the worker',
    () => router.overlapScores({ tokens: prompt }),
    (workers) => workers.length === 1,
  );
  const prefillTokens = async (): Promise<number> => {
    const loads = await router.potentialLoads({ tokens: prompt.subarray(0, 1) });
    return loads.reduce((sum, { potentialPrefillTokens }) => sum + potentialPrefillTokens, 0);
  };
  return { router, prefillTokens };
}

describe('FirstTokenSource and notifyFirstToken', () => {
  it('reports the first token of a handler to routers', async () => {
    const here = deployment();
    const { runtime } = await here.serve(new CountingEngine('counting'));
    await using source = await FirstTokenSource.create(runtime.endpoint(PATH), 'aggregated');
    const { router, prefillTokens } = await counted(here);
    const idle = await prefillTokens();
    const [one, two] = [
      await router.reserve({ tokens: prompt }),
      await router.reserve({ tokens: prompt.map((id) => id + 1000) }),
    ];
    expect(await prefillTokens()).toBe(idle + 2 * prompt.length);
    // The router discovers a publisher shortly after it was created.
    await waitFor(
      'the end of one prefill',
      async () => {
        source.notify(one.id);
        return prefillTokens();
      },
      (tokens) => tokens === idle + prompt.length,
    );
    source.notify('unknown');
    source.notify(two.id, 7);
    expect(await waitForPause('the books', prefillTokens)).toBe(idle + prompt.length);
    for (const { id } of [one, two]) await router.free(id);
    expect(await prefillTokens()).toBe(idle);
  });

  it('reports the first token of an engine before its first item', async () => {
    const here = deployment();
    let context: GenerateContext | undefined;
    let finish = (): void => {};
    const engine: LLMEngine = {
      start: () => ({ model: 'slow', llm: { contextLength: 4096, kvCacheBlockSize: 16, totalKvBlocks: 256 } }),
      async *generate(_, its): AsyncGenerator<LLMEngineOutput> {
        context = its;
        await new Promise<void>((resolve) => (finish = resolve));
        yield { token_ids: [300], finish_reason: 'stop' };
      },
    };
    await here.serve(engine);
    const { router, prefillTokens } = await counted(here);
    const idle = await prefillTokens();
    const client = await (await here.runtime()).endpoint(PATH).client();
    await client.waitForInstances({ timeoutMs: 30_000 });
    const { id, dpRank } = await router.reserve({ tokens: prompt });
    const request = {
      model: 'slow',
      token_ids: [...prompt],
      stop_conditions: { max_tokens: 1 },
      sampling_options: {},
      output_options: {},
      eos_token_ids: [],
      annotations: [],
      routing: { dp_rank: dpRank },
    };
    const answer = client.collect(request, { id });
    await waitFor('the request', () => context !== undefined);
    expect(await prefillTokens()).toBe(idle + prompt.length);
    context?.notifyFirstToken();
    context?.notifyFirstToken();
    await waitFor('the end of the prefill', prefillTokens, (tokens) => tokens === idle);
    finish();
    expect(await answer).toMatchObject([{ token_ids: [300] }]);
    context?.notifyFirstToken();
  });

  it('delays the abort of a decode worker until its first token', async () => {
    const here = deployment();
    const aborted: string[] = [];
    let before: number | undefined;
    let context: GenerateContext | undefined;
    const engine: LLMEngine = {
      start: () => ({ model: 'decode', llm: { contextLength: 4096, kvCacheBlockSize: 16, totalKvBlocks: 256 } }),
      async *generate(_, its): AsyncGenerator<LLMEngineOutput> {
        context = its;
        await new Promise((resolve) => its.signal.addEventListener('abort', resolve));
        // KV blocks are still in flight into this worker's memory. Until they arrive, no abort may be delivered.
        await new Promise((resolve) => setTimeout(resolve, 300));
        before = aborted.length;
        its.notifyFirstToken();
        await waitFor('the abort', () => aborted.length > 0);
        yield { token_ids: [], finish_reason: 'cancelled' };
      },
      abort: (id) => void aborted.push(id),
    };
    await here.serve(engine, { workerType: 'decode' });
    const client = await (await here.runtime()).endpoint(PATH).client();
    await client.waitForInstances({ timeoutMs: 30_000 });
    const request = {
      model: 'decode',
      token_ids: [1, 2, 3],
      stop_conditions: { max_tokens: 1 },
      sampling_options: {},
      output_options: {},
      eos_token_ids: [],
      annotations: [],
      prefill_result: { disaggregated_params: {} },
    };
    const stream = client.generate(request, { id: 'mine' });
    await waitFor('the request', () => context !== undefined);
    stream.stop();
    await waitFor('the abort', () => aborted.length > 0);
    expect([before, aborted]).toEqual([0, ['mine']]);
  });

  it('rejects invalid arguments and calls after close', async () => {
    const runtime = await deployment().runtime();
    const endpoint = runtime.endpoint(PATH);
    await expect(FirstTokenSource.create(endpoint, 'prefill' as never)).rejects.toThrow(
      'FirstTokenSource.create workerType: expected one of aggregated, decode, got "prefill"',
    );
    await expect(FirstTokenSource.create({} as never, 'decode')).rejects.toThrow(
      'FirstTokenSource.create endpoint: expected an object of Endpoint, got an object',
    );
    const source = await FirstTokenSource.create(endpoint, 'decode');
    expect(() => source.notify(7 as never)).toThrow('requestId: expected a string, got 7');
    expect(() => source.notify('x', -1)).toThrow('dpRank: expected an integer from 0');
    await source.close();
    await source.close();
    expect(() => source.notify('x')).toThrow(ClosedError);
  });
});
