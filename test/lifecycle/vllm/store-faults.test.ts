import { loadNixl } from 'dynamo-node';
import { shapeOf, type VllmTransferParams } from 'dynamo-node/vllm';
import { describe, expect, it, onTestFinished } from 'vitest';
import { Child } from '../../helpers/child.js';
import { StandInWorker } from '../../helpers/vllm/worker.js';
import { waitFor } from '../../helpers/wait.js';

const TOKENS = Array.from({ length: 24 }, (_, index) => index);

/** A store in a process of its own that has the blocks of `TOKENS`. */
async function storeFor(worker: StandInWorker): Promise<Child> {
  const child = Child.program('test/helpers/vllm/programs/store.ts');
  onTestFinished(() => child.stop());
  child.send({ shape: shapeOf(worker.handshake), tokens: TOKENS });
  await child.event('ready');
  return child;
}

async function offerOf(store: Child): Promise<VllmTransferParams> {
  store.send({ offer: TOKENS });
  return (await store.event('offer'))['params'] as VllmTransferParams;
}

/** Reads of the worker take this long, so that a fault can hit them. */
function slowReads(): void {
  loadNixl({ mode: 'mock', mock: { completion: 'delayed', latencyUs: 300_000 } });
  onTestFinished(() => void loadNixl({ mode: 'mock', mock: { completion: 'immediate' } }));
}

async function expectWorks(worker: StandInWorker, store: Child): Promise<void> {
  expect(await worker.decode(await offerOf(store), TOKENS)).toBe(true);
  expect(await store.event('ended')).toMatchObject({ end: 'read' });
}

/** The worker gets the right bytes or a typed error, never other bytes. */
async function expectRightOrLost(reading: Promise<boolean>): Promise<void> {
  const outcome = await reading.catch((error: unknown) => error);
  if (outcome !== true) expect(outcome).toMatchObject({ reason: expect.stringMatching(/^(vllm\.unreachable|nixl\.)/) });
}

describe('a KV store', { timeout: 60_000 }, () => {
  it.each(['before', 'during'])(
    'that is killed %s a read fails it with a typed error, and a new store serves',
    async (when) => {
      const worker = await StandInWorker.start('mock');
      const store = await storeFor(worker);
      const params = await offerOf(store);
      if (when === 'during') slowReads();
      const killed = async (): Promise<void> => {
        store.kill('SIGKILL');
        await store.exit();
      };
      if (when === 'before') await killed();
      const reading = worker.decode(params, TOKENS);
      reading.catch(() => {});
      if (when === 'during') {
        await waitFor('the read', () => worker.reads === 1);
        await killed();
      }
      if (when === 'before') await expect(reading).rejects.toMatchObject({ reason: 'vllm.unreachable' });
      else await expectRightOrLost(reading);
      await expectWorks(worker, await storeFor(worker));
    },
  );

  it('that is stopped serves again when it continues', async () => {
    const worker = await StandInWorker.start('mock');
    const store = await storeFor(worker);
    const params = await offerOf(store);
    store.kill('SIGSTOP');
    const reading = worker.decode(params, TOKENS);
    // Longer than the lease.
    await new Promise((resolve) => setTimeout(resolve, 1500));
    store.kill('SIGCONT');
    expect(await reading).toBe(true);
    expect(await store.event('ended')).toMatchObject({ end: 'read' });
    store.send({ state: 1 });
    expect(await store.event('state', { number: 1 })).toMatchObject({ openOffers: 0, empty: 13, inactive: 3 });
    await expectWorks(worker, store);
  });

  it.each(['before', 'during'])('that is drained %s a read ends its offers and its process', async (when) => {
    const worker = await StandInWorker.start('mock');
    const store = await storeFor(worker);
    const params = await offerOf(store);
    if (when === 'during') slowReads();
    const reading = when === 'during' ? worker.decode(params, TOKENS) : undefined;
    reading?.catch(() => {});
    if (when === 'during') await waitFor('the read', () => worker.reads === 1);
    store.kill('SIGTERM');
    expect(await store.exit()).toMatchObject({ code: 0 });
    await expectRightOrLost(reading ?? worker.decode(params, TOKENS));
    await expectWorks(worker, await storeFor(worker));
  });
});
