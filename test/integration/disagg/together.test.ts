import { describe, expect, it } from 'vitest';
import {
  computed,
  context,
  freeBlocks,
  handoffPair,
  hasBytes,
  opened,
  promptOf,
  requestOf,
} from '../../helpers/disagg/pair.js';
import { waitFor } from '../../helpers/wait.js';

const allFree = (counts: number[]): boolean => counts.join() === '16,16,0';

describe('prefill and decode that start together', () => {
  const bootstrapOf = (instanceId: bigint | undefined, room: number | bigint = 2n ** 62n) => ({
    bootstrap_info: { bootstrap_host: '127.0.0.1', bootstrap_port: 1, bootstrap_room: room },
    ...(instanceId === undefined ? {} : { routing: { prefill_worker_id: instanceId } }),
  });

  async function together(options: Parameters<typeof handoffPair>[0] = {}) {
    const both = await handoffPair({ ...options, offers: { bootstrap: true, ...options.offers } });
    const client = await both.endpoint.client();
    const [instance] = await client.waitForInstances();
    const prompt = promptOf(9);
    const request = requestOf(prompt, bootstrapOf(instance?.instanceId));
    return { ...both, prompt, request };
  }

  it('registers the address of the worker', async () => {
    const { offers } = await together();
    expect(offers.registration).toEqual({ bootstrapHost: '127.0.0.1', bootstrapPort: expect.any(Number) });
    expect((await handoffPair()).offers.registration).toEqual({});
  });

  it('meet, whichever comes first', async () => {
    const both = await together();
    const { receiver, offers, prompt, request } = both;
    for (const isDecodeFirst of [true, false]) {
      const decode = async () => {
        using transfer = receiver.accept(request, context());
        const sequence = opened(receiver.manager, prompt);
        const report = await transfer?.into(sequence);
        expect(hasBytes(sequence, prompt)).toEqual([true, true]);
        sequence.dispose();
        return report;
      };
      const decoding = isDecodeFirst ? decode() : undefined;
      if (isDecodeFirst) await waitFor('the wait', () => offers.waiting);
      using offer = offers.begin(request, context());
      offer.publish(computed(offers.manager, prompt));
      const report = await (decoding ?? decode());
      expect((report?.waitMs ?? 0) > 0).toBe(true);
    }
    expect(freeBlocks(both)).toEqual([16, 16, 0]);
  });

  it('end together if the decode worker gives up: the prefill is cancelled', async () => {
    const { receiver, offers, request } = await together();
    using offer = offers.begin(request, context());
    const abort = new AbortController();
    const transfer = receiver.accept(request, context(abort.signal));
    await waitFor('the wait', () => offers.waiting);
    abort.abort(new Error('gone'));
    transfer?.[Symbol.dispose]();
    await waitFor('the end of the prefill', () => offer.signal.aborted);
    const sequence = computed(offers.manager, promptOf(9));
    expect(() => offer.publish(sequence)).toThrow();
    expect([offers.size, offers.waiting]).toEqual([0, 0]);
    sequence.dispose();
  });

  it('end together if the decode worker gives up before it has asked, or after the offer', async () => {
    const both = await together();
    const { receiver, offers, request } = both;
    receiver.accept(request, context(AbortSignal.abort(new Error('gone'))))?.[Symbol.dispose]();
    await receiver.close();
    using offer = offers.begin(request, context());
    expect(offer.signal.aborted).toBe(true);

    const other = await together();
    using late = other.offers.begin(other.request, context());
    late.publish(computed(other.offers.manager, other.prompt));
    other.receiver.accept(other.request, context(AbortSignal.abort(new Error('gone'))))?.[Symbol.dispose]();
    await waitFor('the blocks', () => freeBlocks(other), allFree);
    expect(other.offers.statistics()).toMatchObject({ abandoned: 1 });
  });

  it('end together if the prefill fails: decode fails with disagg.prefill_failed', async () => {
    const { receiver, offers, request, prompt } = await together();
    using transfer = receiver.accept(request, context());
    const moving = transfer?.into(opened(receiver.manager, prompt));
    offers.begin(request, context())[Symbol.dispose]();
    await expect(moving).rejects.toMatchObject({ reason: 'disagg.prefill_failed', retryable: true });
  });

  it('end together if the offers are closed', async () => {
    const { receiver, offers, request, prompt } = await together();
    using transfer = receiver.accept(request, context());
    const moving = transfer?.into(opened(receiver.manager, prompt));
    moving?.catch(() => {});
    await waitFor('the wait', () => offers.waiting);
    await offers.close();
    await expect(moving).rejects.toMatchObject({ name: 'HandoffError', retryable: true });
    expect(() => offers.begin(request, context())).toThrow(expect.objectContaining({ name: 'ClosedError' }));
  });

  it('fail with disagg.timeout after waitMs without a prefill', async () => {
    const { receiver, request, prompt, offers } = await together({ receiver: { waitMs: 50 } });
    using transfer = receiver.accept(request, context());
    await expect(transfer?.into(opened(receiver.manager, prompt))).rejects.toMatchObject({ reason: 'disagg.timeout' });
    await waitFor('the end of the wait', () => offers.waiting === 0);
  });

  it('need the id of the prefill worker', async () => {
    const { receiver } = await together();
    expect(() => receiver.accept(requestOf([1], bootstrapOf(undefined)), context())).toThrow(
      'routing.prefill_worker_id: expected an instance id, got none',
    );
  });
});
