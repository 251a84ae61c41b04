import {
  computeBlockHashes,
  computeSequenceHashes,
  KvPublisher,
  KvRouter,
  type RoutingExplanation,
  type RoutingRequest,
  SelectionService,
} from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';
import { BLOCK_SIZE } from '../../helpers/llm/caching-engine.js';
import { deployments } from '../../helpers/llm/deployments.js';
import { CountingEngine } from '../../helpers/llm/engines.js';
import { waitForConnection } from '../../helpers/router/prompts.js';
import { waitFor } from '../../helpers/wait.js';

const PROMPTS = 8;
const PROMPT_BLOCKS = 12;
const EXPLANATIONS = 2000;
const LANES = 8;

const prompts = Array.from({ length: PROMPTS }, (_, prompt) =>
  Uint32Array.from({ length: PROMPT_BLOCKS * BLOCK_SIZE }, (_, at) => prompt * 100_000 + at),
);
const blocksOf = (tokens: Uint32Array, count: number) => {
  const tokensHashes = computeBlockHashes(tokens, BLOCK_SIZE).subarray(0, count);
  return { tokensHashes, blockHashes: computeSequenceHashes(tokensHashes) };
};

interface Router {
  reserve(request: RoutingRequest): Promise<{ readonly id: string; readonly workerId: bigint }>;
  prefillCompleted(id: string): Promise<void>;
  free(id: string): Promise<void>;
  explain(request: RoutingRequest): Promise<RoutingExplanation>;
}

/** Reserves and frees requests until its end. */
class Load {
  requests = 0;
  #ended = false;
  readonly #lanes: Promise<void>[];

  constructor(router: Router) {
    this.#lanes = Array.from({ length: LANES }, (_, lane) => this.#lane(router, lane));
  }

  async #lane(router: Router, lane: number): Promise<void> {
    for (let turn = lane; !this.#ended; turn++) {
      const { id } = await router.reserve({ tokens: prompts[turn % PROMPTS] as Uint32Array });
      await router.prefillCompleted(id);
      await router.free(id);
      this.requests += 1;
    }
  }

  async end(): Promise<void> {
    this.#ended = true;
    await Promise.all(this.#lanes);
  }
}

/** The winner is one of the cheapest candidates of the explanation, and the reason fits. */
function expectConsistent({ candidates, winner, reason }: RoutingExplanation): void {
  const text = JSON.stringify(
    { winner, reason, candidates },
    (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value),
    1,
  );
  const won = candidates.find(({ workerId }) => workerId === winner.workerId);
  const minCost = Math.min(...candidates.map(({ cost }) => cost));
  expect(won?.cost, text).toBeCloseTo(minCost, 9);
  expect(reason, text).toMatch(/^(the lowest cost|drawn among \d workers of equal cost)/);
  for (const one of candidates) {
    expect(one.cost, text).toBeCloseTo((one.prefill + one.decode + one.requests) * one.taintMultiplier, 9);
    // The load is one snapshot: without requests a worker has only the blocks of this prompt in use.
    if (one.activeRequests === 0) expect([one.decode, one.activePrefillTokens], text).toEqual([PROMPT_BLOCKS, 0]);
  }
}

async function explainUnderLoad(router: Router): Promise<void> {
  const load = new Load(router);
  const seen = new Set<number>();
  let remaining = EXPLANATIONS;
  const lane = async (): Promise<void> => {
    while (remaining-- > 0) {
      const explanation = await router.explain({ tokens: prompts[remaining % PROMPTS] as Uint32Array });
      expectConsistent(explanation);
      for (const { activeRequests } of explanation.candidates) seen.add(activeRequests);
    }
  };
  try {
    await Promise.all(Array.from({ length: LANES }, lane));
  } finally {
    await load.end();
  }
  expect(load.requests).toBeGreaterThan(EXPLANATIONS / 10);
  expect(seen.size, 'loads differed between explanations').toBeGreaterThan(1);
}

describe('an explanation under load', () => {
  it('is consistent for a selection service', async () => {
    await using router = await SelectionService.create({ config: { router_temperature: 0 } });
    for (const workerId of [1n, 2n, 3n]) {
      await router.putWorker({ workerId, blockSize: BLOCK_SIZE });
      for (const [prompt, tokens] of prompts.entries()) {
        if (BigInt(prompt % 3) + 1n === workerId)
          await router.apply([{ kind: 'stored', workerId, ...blocksOf(tokens, 8), startPosition: 0 }]);
      }
    }
    await explainUnderLoad(router);
    const { winner } = await router.explain({ tokens: prompts[0] as Uint32Array });
    expect((await router.reserve({ tokens: prompts[0] as Uint32Array })).workerId).toBe(winner.workerId);
  }, 180_000);

  const deploy = deployments();
  it('is consistent for a KvRouter', async () => {
    const deployment = deploy();
    const published: [KvPublisher, bigint][] = [];
    for (const which of [0, 1]) {
      const { runtime } = await deployment.serve(new CountingEngine('counting'));
      const publisher = await KvPublisher.create(runtime.endpoint('test.backend.generate'), { blockSize: BLOCK_SIZE });
      onTestFinished(() => publisher.close());
      published.push([publisher, runtime.instanceId]);
      for (const tokens of prompts.filter((_, prompt) => prompt % 2 === which)) {
        const { blockHashes, tokensHashes } = blocksOf(tokens, 8);
        publisher.stored(blockHashes, tokensHashes);
      }
    }
    const runtime = await deployment.runtime();
    await using router = await KvRouter.create(runtime.endpoint('test.backend.generate'), { blockSize: BLOCK_SIZE });
    for (const [publisher, id] of published) await waitForConnection(router, publisher, id);
    const workersOfPrompts = async () =>
      Promise.all(
        prompts.map(
          async (tokens) =>
            (await router.overlapScores({ tokens })).filter(({ deviceBlocks }) => deviceBlocks === 8).length,
        ),
      );
    await waitFor(
      'each prompt on one worker',
      workersOfPrompts,
      (counts) => counts.every((count) => count === 1),
      30_000,
    );
    await explainUnderLoad(router);
  }, 180_000);
});
