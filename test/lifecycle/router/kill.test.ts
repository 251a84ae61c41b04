import { DistributedRuntime, KvRouter } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';
import { Child } from '../../helpers/child.js';
import { BLOCK_SIZE } from '../../helpers/llm/caching-engine.js';
import { privateCluster } from '../../helpers/runtime/cluster.js';
import { waitFor } from '../../helpers/wait.js';

/** File discovery removes a dead runtime after 10 s and looks every 10/3 s. The rest is for a loaded machine. */
const REMOVAL_TIMEOUT_MS = 25_000;

describe('a router after a worker was killed', () => {
  it('drops the blocks of a killed worker after its lease has expired', async () => {
    const cluster = privateCluster();
    onTestFinished(() => cluster.remove());
    const start = async (blocks: number) => {
      const child = Child.program('test/helpers/router/programs/worker.ts', [
        JSON.stringify(cluster.options),
        String(blocks * BLOCK_SIZE),
      ]);
      onTestFinished(() => child.kill('SIGKILL'));
      return { child, id: String((await child.event('ready'))['id']) };
    };
    const [long, short] = [await start(8), await start(3)];
    const runtime = await DistributedRuntime.create(cluster.options);
    onTestFinished(() => runtime.close({ timeoutMs: 2000 }));
    await using router = await KvRouter.create(runtime.endpoint('test.backend.generate'), { blockSize: BLOCK_SIZE });
    const tokens = Uint32Array.from({ length: 8 * BLOCK_SIZE }, (_, index) => index);
    const seen = async () =>
      Object.fromEntries(
        (await router.overlapScores({ tokens })).map(({ workerId, deviceBlocks }) => [String(workerId), deviceBlocks]),
      );
    await waitFor('both workers', seen, (all) => all[long.id] === 8 && all[short.id] === 3, 60_000);
    expect(String((await router.select({ tokens })).workerId)).toBe(long.id);
    long.child.kill('SIGKILL');
    const killedAt = performance.now();
    await waitFor('the removal', seen, (all) => !(long.id in all), REMOVAL_TIMEOUT_MS);
    console.log(`removed after ${Math.round(performance.now() - killedAt)} ms`);
    expect(await seen()).toEqual({ [short.id]: 3 });
    expect(String((await router.select({ tokens })).workerId)).toBe(short.id);
    expect((await router.dump()).some(({ workerId }) => String(workerId) === long.id)).toBe(false);
  }, 180_000);
});
