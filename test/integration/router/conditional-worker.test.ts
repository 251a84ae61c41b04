import {
  type Client,
  type EngineWorker,
  type Frontend,
  type GenerateContext,
  type LLMEngineOutput,
  type PreprocessedRequest,
  serveEngine,
} from 'dynamo-node';
import { ConditionalDisaggregation, ConditionalMetrics } from 'dynamo-node/disagg';
import { describe, expect, it, onTestFinished } from 'vitest';
import { modelPath } from '../../../examples/tiny-llama/engine.js';
import { BLOCK_SIZE, CachingEngine } from '../../helpers/llm/caching-engine.js';
import { deployments, post } from '../../helpers/llm/deployments.js';
import { promptOf } from '../../helpers/router/disaggregated.js';
import { waitFor } from '../../helpers/wait.js';

const deployment = deployments();
const MODEL = 'deciding';

/** A decode worker that decides itself, and calls prefill workers by their endpoint. */
class DecidingEngine extends CachingEngine {
  readonly rule = new ConditionalDisaggregation({ maxLocalPrefillLength: 64, maxPrefillQueueSize: 1 });
  readonly updates = {
    conditional_disaggregation: (limits: unknown) => {
      this.rule.update(limits as object);
      return { status: 'success', limits: this.rule.limits };
    },
  };
  #waiting = 0;

  constructor(
    private readonly prefill: Client<number[], number>,
    private readonly metrics: ConditionalMetrics,
  ) {
    super(MODEL);
  }

  override start(worker?: EngineWorker) {
    const config = super.start(worker);
    return { ...config, llm: { ...config.llm, contextLength: 16_384 } };
  }

  override async *generate(request: PreprocessedRequest, context: GenerateContext): AsyncGenerator<LLMEngineOutput> {
    const promptTokens = request.token_ids.length;
    const cachedTokens = this.prefix(request.token_ids).count * BLOCK_SIZE;
    const decision = this.rule.decide({ promptTokens, cachedTokens, prefillQueueSize: this.#waiting });
    this.metrics.observe(decision);
    if (decision.place === 'remote') {
      this.#waiting += 1;
      await this.prefill.unary([...request.token_ids]).finally(() => (this.#waiting -= 1));
    }
    yield* super.generate(request, context);
  }
}

describe('a decode worker with a ConditionalDisaggregation', () => {
  it('prefills few tokens and those that find the queue full itself, by limits that change while it runs', async () => {
    const here = deployment({ systemPort: 0, systemHost: '127.0.0.1' });
    const prefills: number[] = [];
    let release = (): void => {};
    let isHeld = false;
    const prefillRuntime = await here.runtime();
    await prefillRuntime.endpoint<number[], number>('test.prefill.compute').serve(async (tokens) => {
      prefills.push(tokens.length);
      if (isHeld) await new Promise<void>((resolve) => (release = resolve));
      return tokens.length;
    });
    const runtime = await here.runtime();
    const endpoint = runtime.endpoint('test.backend.generate');
    const prefill = await runtime.endpoint<number[], number>('test.prefill.compute').client();
    await prefill.waitForInstances();
    const engine = new DecidingEngine(prefill, new ConditionalMetrics(endpoint.metrics));
    const worker = await serveEngine(endpoint, engine, { modelPath });
    onTestFinished(() => worker.close({ timeoutMs: 1000 }));
    await worker.ready;
    const frontend: Frontend = await here.frontend();
    await frontend.waitForModel(MODEL);
    const ask = async (prompt: readonly number[]): Promise<void> => {
      const response = await post(frontend, '/v1/completions', { model: MODEL, prompt, max_tokens: 1 });
      expect(response.status, await response.text()).toBe(200);
    };
    const counted = (place: string, reason: string): number => {
      const labels = ['decider="worker"', `place="${place}"`, `reason="${reason}"`].join('[^}]*');
      const pattern = new RegExp(`conditional_disagg_decisions_total\\{[^}]*${labels}[^}]*\\} (\\d+)`);
      return Number(pattern.exec(runtime.metricsText())?.[1] ?? 0);
    };

    await ask(promptOf(1, 64));
    expect([prefills, counted('local', 'short')]).toEqual([[], 1]);
    await ask(promptOf(2, 320));
    expect([prefills, counted('remote', 'long')]).toEqual([[320], 1]);
    await ask([...promptOf(2, 320), ...promptOf(3, 60)]);
    expect([prefills, counted('local', 'short')]).toEqual([[320], 2]);

    isHeld = true;
    const waiting = ask(promptOf(4, 200));
    await waitFor('the prompt in the prefill worker', () => prefills.length === 2);
    await ask(promptOf(5, 300));
    expect([prefills, counted('local', 'queue-full')]).toEqual([[320, 200], 1]);
    isHeld = false;
    release();
    await waiting;

    const update = async (limits: object): Promise<unknown> => {
      const url = `http://${runtime.systemAddress}/engine/update/conditional_disaggregation`;
      const headers = { 'content-type': 'application/json' };
      return (await fetch(url, { method: 'POST', headers, body: JSON.stringify(limits) })).json();
    };
    const limits = { maxLocalPrefillLength: 16, maxPrefillQueueSize: 4 };
    expect(await update(limits)).toEqual({ status: 'success', limits });
    expect(await update({ maxLocalPrefillLength: -1 })).toMatchObject({
      error: 'Handler error',
      message: expect.stringContaining('maxLocalPrefillLength: expected an integer'),
    });
    await ask(promptOf(6, 64));
    expect(prefills.at(-1)).toBe(64);
    expect(runtime.metricsText()).toMatch(/conditional_disagg_max_local_prefill_length\{[^}]*\} 16/);
    expect(runtime.metricsText()).toMatch(/conditional_disagg_max_prefill_queue_size\{[^}]*\} 4/);
  });
});
