import { beforeEach, describe, expect, it } from 'vitest';
import { type ForwardPassMetrics, ForwardPassPublisher, ForwardPassSubscriber } from 'dynamo-node';

import { unpack } from '../../lib/addon/codec.js';
import { missingPeers } from '../helpers/peers.js';
import { waitFor } from '../helpers/wait.js';
import { eventPeers } from './event-peers.js';

const PATH = 'interop.passes.generate';

beforeEach(({ skip }) => skip(missingPeers !== undefined, missingPeers));

describe('forward-pass metrics between Python and TypeScript', () => {
  it("reach our subscriber from Python's publisher", async () => {
    const { runtime, python } = await eventPeers('publish', PATH);
    const received: ForwardPassMetrics[] = [];
    await using subscriber = await ForwardPassSubscriber.open(runtime.endpoint(PATH), (metrics) => void received.push(metrics));
    await waitFor('a sign of life', () => subscriber.latest(), (latest) => latest.length === 1);
    python.send({ wall_time: 11.5 });
    await waitFor('the pass', () => received.at(-1)?.wallTimeSeconds, () => received.some(({ wallTimeSeconds }) => wallTimeSeconds === 11.5));
    expect(received.find(({ wallTimeSeconds }) => wallTimeSeconds === 11.5)).toEqual({
      version: 1,
      workerId: 'python-worker',
      dpRank: 0,
      counterId: expect.any(Number),
      wallTimeSeconds: 11.5,
      scheduled: { prefillRequests: 0, prefillTokens: 1, prefillKvTokens: 2, prefillLengthVariance: 0, decodeRequests: 3, decodeKvTokens: 4, decodeKvVariance: 0 },
      queued: { prefillRequests: 5, prefillTokens: 6, prefillLengthVariance: 0, decodeRequests: 7, decodeKvTokens: 8, decodeKvVariance: 0 },
    });
  });

  it("reach Python's subscriber from our publisher", async () => {
    const { runtime, python } = await eventPeers('receive', PATH);
    await using publisher = await ForwardPassPublisher.open(runtime.endpoint(PATH), { workerId: 'typescript-worker', ranks: 2 });
    const received = (): Record<string, unknown>[] => python.events.filter(({ event }) => event === 'received').map(({ hex }) => unpack(Buffer.from(hex as string, 'hex')) as Record<string, unknown>);
    await waitFor('a sign of life', received, (all) => all.length > 0);
    publisher.publish({ wallTimeSeconds: 0.25, scheduled: { prefillTokens: 2 ** 40, decodeRequests: 3 }, queued: { decodeKvTokens: 9 } }, 1);
    const passes = await waitFor('the pass', () => received().filter(({ wall_time }) => wall_time === 0.25), (all) => all.length > 0);
    expect(passes[0]).toMatchObject({
      version: 1,
      worker_id: 'typescript-worker',
      dp_rank: 1,
      scheduled_requests: { sum_prefill_tokens: 2 ** 40, num_decode_requests: 3, sum_prefill_kv_tokens: 0 },
      queued_requests: { sum_decode_kv_tokens: 9 },
    });
  });
});
