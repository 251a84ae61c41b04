import {
  computeBlockHashes,
  computeSequenceHashes,
  type SelectionDecision,
  type SelectionRequest,
  SelectionService,
  type SelectionServiceOptions,
} from 'dynamo-node';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { native } from '../../../lib/addon/invoke.js';

const BLOCK = 16;
const promptOf = (seed: number): Uint32Array => Uint32Array.from({ length: 4 * BLOCK }, (_, at) => seed * 1000 + at);

/** A service with workers that have a prompt each: worker `n` that of seed `n`. */
async function service(workers: number, options: SelectionServiceOptions = {}): Promise<SelectionService> {
  const made = await SelectionService.create(options);
  onTestFinished(() => made.close());
  for (let worker = 0; worker < workers; worker++) {
    const workerId = BigInt(worker);
    await made.putWorker({ workerId, blockSize: BLOCK, totalKvBlocks: 100_000, maxNumBatchedTokens: 8192 });
    const tokensHashes = computeBlockHashes(promptOf(worker), BLOCK);
    const blockHashes = computeSequenceHashes(tokensHashes);
    await made.apply([{ kind: 'stored', workerId, blockHashes, tokensHashes, startPosition: 0 }]);
  }
  return made;
}

/** Counts the crossings of choices of services that are created afterwards. */
function crossings(): { one(): number; many(): number } {
  const [one, many] = [vi.spyOn(native, 'selectionSelect'), vi.spyOn(native, 'selectionSelectMany')];
  onTestFinished(() => void vi.restoreAllMocks());
  return { one: () => one.mock.calls.length, many: () => many.mock.calls.length };
}

describe('the choices of one turn of the event loop', () => {
  it.each([
    [1, 1, 0],
    [2, 0, 1],
    [64, 0, 1],
    [65, 1, 1],
    [200, 0, 4],
  ])('cross together, %i of them, and each has its own answer', async (count, one, many) => {
    const workers = 8;
    const crossed = crossings();
    const router = await service(workers);
    const chosen = await Promise.all(
      Array.from({ length: count }, (_, at) => router.select({ tokens: promptOf(at % workers) })),
    );
    expect(chosen.map(({ workerId }) => workerId)).toEqual(
      Array.from({ length: count }, (_, at) => BigInt(at % workers)),
    );
    expect(new Set(chosen.map(({ cachedTokens }) => cachedTokens))).toEqual(new Set([4 * BLOCK]));
    expect([crossed.one(), crossed.many()]).toEqual([one, many]);
  });

  it('fail alone, with the operation and the pool of their own', async () => {
    const crossed = crossings();
    const router = await service(2);
    const requests: SelectionRequest[] = [
      { tokens: promptOf(0) },
      { tokens: promptOf(0), model: 'another' },
      { tokens: promptOf(1) },
    ];
    const [first, second, third, fourth] = await Promise.allSettled([
      ...requests.map((request) => router.select(request)),
      router.reserve({ tokens: promptOf(1), group: 'nobody' }),
    ]);
    expect(first).toMatchObject({ value: { workerId: 0n } });
    expect(second).toMatchObject({ reason: { operation: 'selectionService.select' } });
    expect(String((second as PromiseRejectedResult).reason)).toContain('another');
    expect(third).toMatchObject({ value: { workerId: 1n } });
    expect(fourth).toMatchObject({ reason: { operation: 'selectionService.reserve' } });
    expect(crossed.many()).toBe(1);
  });

  it('are refused before they cross if they are wrong', async () => {
    const crossed = crossings();
    const router = await service(1);
    const [wrong, right] = await Promise.allSettled([
      router.select({ tokens: [1, -1] }),
      router.select({ tokens: promptOf(0) }),
    ]);
    expect(String((wrong as PromiseRejectedResult).reason)).toMatch(/select request\.tokens\[1\]: expected an integer/);
    expect(right.status).toBe('fulfilled');
    expect([crossed.one(), crossed.many()]).toEqual([1, 0]);
  });

  it('reserve as many requests as were asked for, each with its id', async () => {
    const router = await service(2);
    const active = async (): Promise<number> =>
      (await router.potentialLoads({ tokens: promptOf(9) })).reduce(
        (sum, { activeRequests }) => sum + activeRequests,
        0,
      );
    const reserved = await Promise.all(
      Array.from({ length: 100 }, (_, at) => router.reserve({ tokens: promptOf(at % 2), id: `request-${at}` })),
    );
    expect(reserved.map(({ id }) => id)).toEqual(Array.from({ length: 100 }, (_, at) => `request-${at}`));
    expect(await active()).toBe(100);
    await Promise.all(reserved.map(({ id }) => router.free(id)));
    expect(await active()).toBe(0);
  });

  it('use the tokens of the call, even if the caller writes to them afterwards', async () => {
    const router = await service(2);
    const tokens = promptOf(1);
    const chosen: Promise<SelectionDecision>[] = [];
    for (const seed of [1, 0, 1]) {
      tokens.set(promptOf(seed));
      chosen.push(router.select({ tokens }));
    }
    tokens.fill(7);
    expect((await Promise.all(chosen)).map(({ workerId }) => workerId)).toEqual([1n, 0n, 1n]);
  });

  it('end when the service is closed before or while they are made', async () => {
    const router = await service(2);
    const chosen = Array.from({ length: 300 }, (_, at) => router.select({ tokens: promptOf(at % 2) }));
    const [ends] = await Promise.all([Promise.allSettled(chosen), router.close()]);
    for (const end of ends) {
      if (end.status === 'fulfilled') expect(end.value.cachedTokens).toBe(4 * BLOCK);
      else expect(end.reason).toHaveProperty('code', expect.stringMatching(/^DYN_/));
    }
  });

  it('cross alone with a policy of the host, which may let one wait', async () => {
    const crossed = crossings();
    const router = await service(2, { policy: { timeoutMs: 1000, score: ({ costs }) => costs } });
    const chosen = await Promise.all([0, 1, 0].map((seed) => router.select({ tokens: promptOf(seed) })));
    expect(chosen.map(({ workerId }) => workerId)).toEqual([0n, 1n, 0n]);
    expect([crossed.one(), crossed.many()]).toEqual([3, 0]);
  });
});
