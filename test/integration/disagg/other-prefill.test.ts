import { KvReceiver, type OfferResponse } from 'dynamo-node/disagg';
import { describe, expect, it, onTestFinished } from 'vitest';
import { context, handoffPair, opened, poolOf, prefilled, promptOf } from '../../helpers/disagg/pair.js';
import { testRuntime } from '../../helpers/runtime/runtime.js';

/** A prefill worker that answers `describe` as it is told. */
async function withDescription(change: (description: Record<string, unknown>) => Record<string, unknown>) {
  const both = await handoffPair();
  const answer = (await (await both.endpoint.client()).unary({ op: 'describe' })) as unknown as Record<string, unknown>;
  const other = await testRuntime();
  const endpoint = other.endpoint(both.endpoint.path) as typeof both.endpoint;
  const served = await endpoint.serve(() => change(answer) as unknown as OfferResponse);
  onTestFinished(() => served.close());
  const receiver = await KvReceiver.connect(poolOf(), endpoint, { model: 'tiny', nixl: 'mock' });
  onTestFinished(() => receiver.close());
  const instance = String(served.instance.instanceId);
  const request = prefilled(both, promptOf(9), (handoff) => ({ ...handoff, instance }));
  return { receiver, request };
}

describe('a prefill worker of another kind', () => {
  it.each<[string, string, (description: Record<string, unknown>) => Record<string, unknown>]>([
    ['another version', 'disagg.version', (one) => ({ ...one, version: 2 })],
    ['no version', 'disagg.version', () => ({})],
    ['another library', 'disagg.library', (one) => ({ ...one, library: 'real' })],
    ['an unknown library', 'disagg.handoff', (one) => ({ ...one, library: 'rdma' })],
    ['no metadata', 'disagg.handoff', ({ metadata: _, ...one }) => one],
    ['empty metadata', 'disagg.handoff', (one) => ({ ...one, metadata: new Uint8Array() })],
    [
      'damaged metadata',
      'disagg.handoff',
      (one) => ({ ...one, metadata: (one['metadata'] as Uint8Array).map((byte, index) => (index % 7 ? byte : 255)) }),
    ],
    [
      'memory of another agent',
      'disagg.handoff',
      (one) => ({ ...one, memory: { ...(one['memory'] as object), agent: 'x' } }),
    ],
    [
      'memory at no address',
      'disagg.handoff',
      (one) => ({ ...one, memory: { ...(one['memory'] as object), address: 'x' } }),
    ],
    [
      'memory of no blocks',
      'disagg.handoff',
      (one) => ({ ...one, memory: { ...(one['memory'] as object), bytes: 0 } }),
    ],
    ['a wrong block size', 'disagg.layout', (one) => ({ ...one, blockBytes: 512 })],
    ['another layout', 'disagg.layout', (one) => ({ ...one, layout: '{}' })],
    ['a text', 'disagg.version', () => 'hello' as never],
  ])('with %s is refused with %s', async (_, reason, change) => {
    const { receiver, request } = await withDescription(change);
    using transfer = receiver.accept(request, context());
    const sequence = opened(receiver.manager, promptOf(9));
    await expect(transfer?.into(sequence)).rejects.toMatchObject({ name: 'HandoffError', reason });
    sequence.dispose();
    expect(receiver.manager.available).toBe(16);
  });
});
