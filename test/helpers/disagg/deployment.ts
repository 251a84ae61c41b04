import { readFileSync } from 'node:fs';
import type { Frontend, HttpFrontendOptions, ServedEngine } from 'dynamo-node';
import type { KvTransferReport, OfferEndpoint } from 'dynamo-node/disagg';
import { DecodeEngine, type DecodeOptions } from '../../../examples/tiny-llama/decode-engine.js';
import { PrefillEngine, type PrefillOptions } from '../../../examples/tiny-llama/prefill-engine.js';
import type { Deployment } from '../llm/deployments.js';
import { root } from '../project.js';
import { waitFor } from '../wait.js';

export const OFFERS = 'test.prefill.kv_offers';

export interface GreedyCase {
  readonly name: string;
  readonly text: string;
  readonly promptTokenIds: readonly number[];
  readonly tokenIds: readonly number[];
  /** How much the best logit is above the second one, at each token. */
  readonly gaps: readonly number[];
}

/** The greedy answers of transformers with the bundled model. */
export const greedyCases = (
  JSON.parse(readFileSync(`${root}/test/fixtures/tiny-llama-greedy.json`, 'utf8')) as { cases: GreedyCase[] }
).cases;

export interface Served<Engine> {
  readonly engine: Engine;
  readonly worker: ServedEngine;
}

/** A disaggregated deployment of the tiny Llama, in this process. */
export interface Disaggregated {
  readonly prefill: Served<PrefillEngine>[];
  readonly decode: Served<DecodeEngine>[];
  readonly frontend: Frontend;
  /** The reports of all transfers. */
  readonly reports: KvTransferReport[];
}

export interface DisaggregatedOptions {
  readonly prefill?: number;
  readonly decode?: number;
  readonly prefillOptions?: PrefillOptions;
  readonly decodeOptions?: DecodeOptions;
  readonly frontend?: HttpFrontendOptions;
}

/** The options of both engines for small tests. */
export const SMALL = { cache: { blockSize: 16, blockCount: 512 }, nixl: 'mock' } as const;

export async function servePrefill(here: Deployment, options: PrefillOptions = SMALL): Promise<Served<PrefillEngine>> {
  const runtime = await here.runtime();
  const engine = new PrefillEngine(runtime.endpoint(OFFERS) as OfferEndpoint, options);
  const { worker } = await here.serve(engine, { workerType: 'prefill', endpoint: 'test.prefill.generate', runtime });
  return { engine, worker };
}

export async function serveDecode(here: Deployment, options: DecodeOptions = SMALL): Promise<Served<DecodeEngine>> {
  const runtime = await here.runtime();
  const engine = new DecodeEngine(runtime.endpoint(OFFERS) as OfferEndpoint, options);
  const { worker } = await here.serve(engine, { workerType: 'decode', runtime });
  return { engine, worker };
}

/** Starts the workers and a frontend, and waits until a request is prefilled by a prefill worker. */
export async function disaggregated(here: Deployment, options: DisaggregatedOptions = {}): Promise<Disaggregated> {
  const { prefill = 1, decode = 1, prefillOptions = {}, decodeOptions = {} } = options;
  const reports: KvTransferReport[] = [];
  const onTransfer = (report: KvTransferReport): void => void reports.push(report);
  const prefills: Served<PrefillEngine>[] = [];
  for (let index = 0; index < prefill; index++)
    prefills.push(await servePrefill(here, { ...SMALL, ...prefillOptions }));
  const decodes: Served<DecodeEngine>[] = [];
  for (let index = 0; index < decode; index++)
    decodes.push(await serveDecode(here, { ...SMALL, onTransfer, ...decodeOptions }));
  const frontend = await here.frontend(options.frontend);
  await frontend.waitForModel('tiny-llama');
  await waitFor('a request that a prefill worker has computed', async () => {
    await (await complete(frontend, (greedyCases[0] as GreedyCase).promptTokenIds, { max_tokens: 1 })).text();
    return reports.length;
  });
  reports.length = 0;
  return { prefill: prefills, decode: decodes, frontend, reports };
}

/** Asks for a completion of tokens. */
export function complete(
  { url }: Pick<Frontend, 'url'>,
  prompt: readonly number[],
  body: object = {},
  init: RequestInit = {},
): Promise<Response> {
  return fetch(`${url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'tiny-llama', prompt, temperature: 0, ...body }),
    ...init,
  });
}

/** The text and the usage of a completion. Fails with the error of the frontend. */
export async function completion(
  frontend: Pick<Frontend, 'url'>,
  prompt: readonly number[],
  body: object = {},
): Promise<{ text: string; cached: number; completionTokens: number }> {
  const response = await complete(frontend, prompt, body);
  const answer = await response.text();
  if (response.status !== 200) throw new Error(`${response.status} ${answer}`);
  const { choices, usage } = JSON.parse(answer) as {
    choices: { text: string }[];
    usage: { completion_tokens: number; prompt_tokens_details?: { cached_tokens?: number } };
  };
  return {
    text: choices[0]?.text ?? '',
    cached: usage.prompt_tokens_details?.cached_tokens ?? 0,
    completionTokens: usage.completion_tokens,
  };
}

/** Waits until no request, offer or transfer uses a block, on either side. */
export async function expectBaseline(
  { prefill, decode }: Pick<Disaggregated, 'prefill' | 'decode'>,
  timeoutMs?: number,
): Promise<void> {
  await waitFor(
    'the blocks of all workers',
    () => [
      ...prefill.map(({ engine: { offers } }) => [
        offers.manager.available - offers.manager.blockCount,
        offers.size,
        0,
      ]),
      ...decode.map(({ engine: { receiver } }) => [
        receiver.manager.available - receiver.manager.blockCount,
        receiver.statistics().quarantined,
        0,
      ]),
    ],
    (state) => state.every((counts) => counts.every((count) => count === 0)),
    timeoutMs,
  );
}
