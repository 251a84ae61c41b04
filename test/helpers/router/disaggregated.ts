import { type DistributedRuntime, type Frontend, KvRouter, type KvRouterConfig } from 'dynamo-node';
import { expect, onTestFinished } from 'vitest';
import { BLOCK_SIZE } from '../llm/caching-engine.js';
import { type Deployment, post } from '../llm/deployments.js';
import { waitFor } from '../wait.js';
import { DecodeEngine, MODEL, type Place, PrefillEngine } from './disaggregated-engines.js';

export const PREFILL_ENDPOINT = 'test.prefill.generate';
export const DECODE_ENDPOINT = 'test.backend.generate';

/** A prefill worker, a decode worker and a frontend. */
export interface Parted {
  readonly prefill: PrefillEngine;
  readonly decode: DecodeEngine;
  readonly decodeRuntime: DistributedRuntime;
  readonly frontend: Frontend;
  /** Completes a prompt. Returns who prefilled it. */
  ask(prompt: readonly number[]): Promise<Place>;
}

export async function startParted(here: Deployment, kv: KvRouterConfig): Promise<Parted> {
  const prefill = new PrefillEngine();
  const decode = new DecodeEngine();
  await here.serve(prefill, { workerType: 'prefill', endpoint: PREFILL_ENDPOINT });
  const { runtime: decodeRuntime } = await here.serve(decode, { workerType: 'decode', endpoint: DECODE_ENDPOINT });
  const frontend = await here.frontend({ router: { mode: 'kv', kv } });
  await frontend.waitForModel(MODEL);
  const complete = (prompt: readonly number[]): Promise<Response> =>
    post(frontend, '/v1/completions', { model: MODEL, prompt, max_tokens: 2 });
  // The model is listed before the router of the prefill workers takes requests.
  await waitFor('both routers', async () => (await complete(promptOf(200, 8))).ok);
  const ask = async (prompt: readonly number[]): Promise<Place> => {
    const response = await complete(prompt);
    const body = await response.text();
    expect(response.status, body).toBe(200);
    return decode.places.at(-1) as Place;
  };
  return { prefill, decode, decodeRuntime, frontend, ask };
}

/** Routers of both pools, as an observer beside the frontend has them. */
export async function observers(
  here: Deployment,
  config: KvRouterConfig,
): Promise<{ prefill: KvRouter; decode: KvRouter }> {
  const runtime = await here.runtime();
  const open = async (path: string, workerType: 'prefill' | 'decode'): Promise<KvRouter> => {
    const router = await KvRouter.create(runtime.endpoint(path), { blockSize: BLOCK_SIZE, workerType, config });
    onTestFinished(() => router.close());
    const finds = () => router.explain({ tokens: promptOf(200, 8) }).catch(() => undefined);
    await waitFor(`a worker of ${path}`, finds);
    return router;
  };
  return { prefill: await open(PREFILL_ENDPOINT, 'prefill'), decode: await open(DECODE_ENDPOINT, 'decode') };
}

/** A prompt of `length` tokens. Prompts of different seeds share no block. */
export function promptOf(seed: number, length: number): number[] {
  return Array.from({ length }, (_, at) => (at === 0 ? 3 + seed : 300 + ((at * 7) % 500)));
}
