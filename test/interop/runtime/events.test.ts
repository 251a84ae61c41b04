import { beforeEach, describe, expect, it } from 'vitest';

import { pack } from '../../../lib/addon/codec.js';
import { eventPeers } from '../../helpers/interop/event-peers.js';
import { missingPeers } from '../../helpers/interop/peers.js';
import { waitFor } from '../../helpers/wait.js';

const PATH = 'interop.events.generate';
const TOPIC = 'forward-pass-metrics';

interface Metrics {
  version: number;
  worker_id: string;
  counter_id: number;
  wall_time: number;
  scheduled_requests: Record<string, number>;
}

beforeEach(({ skip }) => skip(missingPeers !== undefined, missingPeers));

describe('events between Python and TypeScript', () => {
  it('reach a TypeScript subscriber from Python in order and without a gap', async () => {
    const { runtime, python } = await eventPeers('publish', PATH);
    await using events = await runtime.endpoint(PATH).subscribe<Metrics>(TOPIC);
    const first = await events.next();
    for (const wallTime of [11.5, 12.5, 13.5]) python.send({ wall_time: wallTime });
    const seen = [first.value];
    const ours = (): number[] => seen.map(({ data }) => data.wall_time).filter((time) => time > 10);
    while (ours().length < 3) seen.push((await events.next()).value);
    expect(ours()).toEqual([11.5, 12.5, 13.5]);
    const start = seen[0].sequence;
    expect(seen.map(({ sequence }) => sequence)).toEqual(seen.map((_, index) => start + index));
    expect(new Set(seen.map(({ publisherId }) => publisherId)).size).toBe(1);
    expect(seen.at(-1)).toMatchObject({
      topic: TOPIC,
      publishedAt: expect.any(Number),
      data: {
        version: 1,
        worker_id: 'python-worker',
        scheduled_requests: { sum_prefill_tokens: 1, num_decode_requests: 3 },
      },
    });
  });

  it('reach a Python subscriber from TypeScript byte for byte', async () => {
    const { runtime, python } = await eventPeers('receive', PATH);
    await using publisher = await runtime.endpoint(PATH).publisher(TOPIC);
    const event = {
      worker_id: 'typescript-worker',
      dp_rank: 0,
      counter_id: 2n ** 63n,
      wall_time: 0.25,
      nested: { list: [1, null] },
    };
    const hex = Buffer.from(pack(event)).toString('hex');
    await waitFor(
      'what Python received',
      async () => {
        await publisher.publish(event);
        return python.events.filter((one) => one.event === 'received').map((one) => one['hex']);
      },
      (received) => received.includes(hex),
    );
  });
});
