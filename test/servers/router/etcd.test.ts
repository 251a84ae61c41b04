import { DistributedRuntime, KvRouter, type RuntimeOptions } from 'dynamo-node';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { Child } from '../../helpers/child.js';
import { BLOCK_SIZE } from '../../helpers/llm/caching-engine.js';
import { Server, serversMissing } from '../../helpers/servers.js';
import { waitFor } from '../../helpers/wait.js';

const missing = serversMissing('etcd');
const LEASE_SECONDS = 5;
/** The lease and 5 s, and 10 s for a loaded machine. */
const REMOVAL_TIMEOUT_MS = (LEASE_SECONDS + 5 + 10) * 1000;

beforeEach(({ skip }) => skip(missing !== undefined, missing));

describe('a router with discovery in etcd', () => {
  it('drops the blocks of a killed worker after its etcd lease has expired', async () => {
    const server = await Server.etcd();
    onTestFinished(() => server.close());
    const options = (leaseTtlSeconds: number): RuntimeOptions => ({
      discovery: { kind: 'etcd', endpoints: [server.url], leaseTtlSeconds },
      host: '127.0.0.1',
    });
    const start = async (blocks: number, leaseSeconds: number) => {
      const child = Child.program('test/helpers/router/programs/worker.ts', [
        JSON.stringify(options(leaseSeconds)),
        String(blocks * BLOCK_SIZE),
      ]);
      onTestFinished(() => child.stop());
      return { child, id: String((await child.event('ready'))['id']) };
    };
    const [long, short] = [await start(8, LEASE_SECONDS), await start(3, 15)];
    const runtime = await DistributedRuntime.create(options(15));
    onTestFinished(() => runtime.close({ timeoutMs: 2000 }));
    await using router = await KvRouter.create(runtime.endpoint('test.backend.generate'), { blockSize: BLOCK_SIZE });
    const tokens = Uint32Array.from({ length: 8 * BLOCK_SIZE }, (_, index) => index);
    const seen = async () =>
      Object.fromEntries(
        (await router.overlapScores({ tokens })).map(({ workerId, deviceBlocks }) => [String(workerId), deviceBlocks]),
      );
    await waitFor('both workers', seen, (all) => all[long.id] === 8 && all[short.id] === 3, 60_000);
    long.child.kill('SIGKILL');
    const killedAt = performance.now();
    await waitFor('the removal', seen, (all) => !(long.id in all), REMOVAL_TIMEOUT_MS);
    console.log(`removed after ${Math.round(performance.now() - killedAt)} ms, its lease is ${LEASE_SECONDS} s`);
    expect(await seen()).toEqual({ [short.id]: 3 });
    expect(String((await router.select({ tokens })).workerId)).toBe(short.id);
    expect((await router.dump()).some(({ workerId }) => String(workerId) === long.id)).toBe(false);
  }, 180_000);
});
