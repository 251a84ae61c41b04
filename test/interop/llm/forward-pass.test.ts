import { type ForwardPassMetrics, ForwardPassPublisher, ForwardPassRelay, ForwardPassSubscriber } from 'dynamo-node';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';

import { pack, unpack } from '../../../lib/addon/codec.js';
import { pythonPeer } from '../../helpers/child.js';
import { eventPeers } from '../../helpers/interop/event-peers.js';
import { missingPeers } from '../../helpers/interop/peers.js';
import { temporaryFolder, testRuntime } from '../../helpers/runtime/runtime.js';
import { waitFor } from '../../helpers/wait.js';

const PATH = 'interop.passes.generate';

beforeEach(({ skip }) => skip(missingPeers !== undefined, missingPeers));

describe('forward-pass metrics between Python and TypeScript', () => {
  it("reach the TypeScript subscriber from Python's publisher", async () => {
    const { runtime, python } = await eventPeers('publish', PATH);
    const received: ForwardPassMetrics[] = [];
    await using subscriber = await ForwardPassSubscriber.create(
      runtime.endpoint(PATH),
      (metrics) => void received.push(metrics),
    );
    await waitFor(
      'a sign of life',
      () => subscriber.latest(),
      (latest) => latest.length === 1,
    );
    python.send({ wall_time: 11.5 });
    await waitFor(
      'the pass',
      () => received.at(-1)?.wallTimeSeconds,
      () => received.some(({ wallTimeSeconds }) => wallTimeSeconds === 11.5),
    );
    expect(received.find(({ wallTimeSeconds }) => wallTimeSeconds === 11.5)).toEqual({
      version: 1,
      workerId: 'python-worker',
      dpRank: 0,
      counterId: expect.any(Number),
      wallTimeSeconds: 11.5,
      scheduled: {
        prefillRequests: 0,
        prefillTokens: 1,
        prefillKvTokens: 2,
        prefillLengthVariance: 0,
        decodeRequests: 3,
        decodeKvTokens: 4,
        decodeKvVariance: 0,
      },
      queued: {
        prefillRequests: 5,
        prefillTokens: 6,
        prefillLengthVariance: 0,
        decodeRequests: 7,
        decodeKvTokens: 8,
        decodeKvVariance: 0,
      },
    });
  });

  it("reach Python's subscriber from the TypeScript publisher", async () => {
    const { runtime, python } = await eventPeers('receive', PATH);
    await using publisher = await ForwardPassPublisher.create(runtime.endpoint(PATH), {
      workerId: 'typescript-worker',
      ranks: 2,
    });
    const received = (): Record<string, unknown>[] =>
      python.events
        .filter(({ event }) => event === 'received')
        .map(({ hex }) => unpack(Buffer.from(hex as string, 'hex')) as Record<string, unknown>);
    await waitFor('a sign of life', received, (all) => all.length > 0);
    publisher.publish(
      {
        wallTimeSeconds: 0.25,
        scheduled: { prefillTokens: 2 ** 40, decodeRequests: 3 },
        queued: { decodeKvTokens: 9 },
      },
      1,
    );
    const passes = await waitFor(
      'the pass',
      () => received().filter(({ wall_time }) => wall_time === 0.25),
      (all) => all.length > 0,
    );
    expect(passes[0]).toMatchObject({
      version: 1,
      worker_id: 'typescript-worker',
      dp_rank: 1,
      scheduled_requests: { sum_prefill_tokens: 2 ** 40, num_decode_requests: 3, sum_prefill_kv_tokens: 0 },
      queued_requests: { sum_decode_kv_tokens: 9 },
    });
  });

  it('of a ZMQ socket of an engine reach the subscriber through a relay until its close', async () => {
    const folder = temporaryFolder();
    const runtime = await testRuntime({ discovery: { kind: 'file', dir: folder } });
    const engine = pythonPeer('router.py', ['relay', 'tcp://127.0.0.1'], folder);
    onTestFinished(() => engine.stop());
    const address = `tcp://127.0.0.1:${Number((await engine.event('ready'))['port'])}`;
    const received: ForwardPassMetrics[] = [];
    await using _subscriber = await ForwardPassSubscriber.create(
      runtime.endpoint(PATH),
      (metrics) => void received.push(metrics),
    );
    await using relay = await ForwardPassRelay.create(runtime.endpoint(PATH), address);
    const work = {
      num_prefill_requests: 1,
      sum_prefill_tokens: 2,
      var_prefill_length: 0.5,
      sum_prefill_kv_tokens: 3,
      num_decode_requests: 4,
      sum_decode_kv_tokens: 5,
      var_decode_kv_tokens: 1.5,
    };
    let counter = 0;
    const send = (): void => {
      const pass = {
        version: 1,
        worker_id: 'engine',
        dp_rank: 2,
        counter_id: ++counter,
        wall_time: 0.75,
        scheduled_requests: work,
        queued_requests: work,
      };
      engine.send({ packed: Buffer.from(pack(pass)).toString('hex') });
    };
    // A subscriber receives only the messages after it has connected.
    await waitFor('a pass', () => (send(), received.length));
    const queued = {
      prefillRequests: 1,
      prefillTokens: 2,
      prefillLengthVariance: 0.5,
      decodeRequests: 4,
      decodeKvTokens: 5,
      decodeKvVariance: 1.5,
    };
    expect(received[0]).toEqual({
      version: 1,
      workerId: 'engine',
      dpRank: 2,
      counterId: expect.any(Number),
      wallTimeSeconds: 0.75,
      scheduled: { ...queued, prefillKvTokens: 3 },
      queued,
    });
    await relay.close();
    await waitFor(
      'the last pass',
      () => {
        const before = received.length;
        send();
        return new Promise<number>((resolve) => setTimeout(() => resolve(received.length - before), 500));
      },
      (more) => more === 0,
    );
  });
});
