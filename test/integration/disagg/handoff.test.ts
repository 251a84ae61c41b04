import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type DistributedRuntime, loadNixl, type MockKnobs, NixlAgent } from 'dynamo-node';
import { type KvHandoff, KvOffers, KvReceiver, type OfferEndpoint } from 'dynamo-node/disagg';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import {
  computed,
  context,
  freeBlocks,
  handoffPair,
  hasBytes,
  opened,
  poolOf,
  prefilled,
  promptOf,
  requestOf,
} from '../../helpers/disagg/pair.js';
import { layout } from '../../helpers/kvbm/blocks.js';
import { nixlMissing } from '../../helpers/nixl/library.js';
import { temporaryFolder, testRuntime } from '../../helpers/runtime/runtime.js';
import { waitFor } from '../../helpers/wait.js';

const knobs = (mock: MockKnobs): void => void loadNixl({ mode: 'mock', mock });
const allFree = (counts: number[]): boolean => counts.join() === '16,16,0';

describe.each(['mock', 'real'] as const)('a handoff over %s NIXL', (nixl) => {
  beforeEach(({ skip }) => {
    const missing = nixl === 'real' ? nixlMissing() : undefined;
    skip(missing !== undefined, missing);
  });
  const pair = () => handoffPair({ offers: { nixl }, receiver: { nixl } });

  it.each([1, 2, 4, 5, 9, 16, 17, 31])('moves the rows of a prompt of %i tokens, all but the last', async (tokens) => {
    const both = await pair();
    const prompt = promptOf(tokens);
    using transfer = both.receiver.accept(prefilled(both, prompt), context());
    const sequence = opened(both.receiver.manager, prompt);
    const report = await transfer?.into(sequence);
    const blocks = Math.ceil((tokens - 1) / 4);
    expect(report).toMatchObject({
      promptTokens: tokens,
      cachedTokens: 0,
      blocks,
      bytes: blocks * both.receiver.manager.blockBytes,
      waitMs: 0,
      library: nixl,
    });
    expect(sequence.computedTokens).toBe(tokens - 1);
    expect(hasBytes(sequence, prompt)).toEqual(Array(blocks).fill(true));
    expect(both.offers.statistics()).toMatchObject({ offered: 1, taken: 1, abandoned: 0, expired: 0 });
    sequence.dispose();
    expect(freeBlocks(both)).toEqual([16, 16, 0]);
  });

  it('reads only the blocks that the decode worker lacks', async () => {
    const both = await pair();
    const prompt = promptOf(18);
    computed(both.receiver.manager, prompt.slice(0, 10)).dispose();
    using transfer = both.receiver.accept(prefilled(both, prompt), context());
    const sequence = opened(both.receiver.manager, prompt);
    expect(await transfer?.into(sequence)).toMatchObject({ cachedTokens: 8, blocks: 3 });
    expect(hasBytes(sequence, prompt)).toEqual(Array(5).fill(true));

    using again = both.receiver.accept(prefilled(both, prompt), context());
    const second = opened(both.receiver.manager, prompt);
    expect(await again?.into(second)).toMatchObject({ cachedTokens: 16, blocks: 1 });
    expect(hasBytes(second, prompt)).toEqual(Array(5).fill(true));
  });

  it('fills the pages of each choice of a request', async () => {
    const both = await pair();
    const prompt = promptOf(10);
    using transfer = both.receiver.accept(prefilled(both, prompt), context());
    const choices = [opened(both.receiver.manager, prompt), opened(both.receiver.manager, prompt)];
    expect(await transfer?.into(choices)).toMatchObject({ blocks: 6 });
    for (const choice of choices) {
      expect(hasBytes(choice, prompt)).toEqual([true, true, true]);
      expect(choice.append(1)).toBe(true);
    }
  });

  it('explains what carries the bytes', async () => {
    const both = await pair();
    using transfer = both.receiver.accept(prefilled(both, promptOf(5)), context());
    const { prefillWorker } = (await transfer?.into(opened(both.receiver.manager, promptOf(5)))) ?? {};
    const [route] = await both.receiver.explain();
    expect(route).toMatchObject({ prefillWorker, library: nixl });
    expect(typeof route?.transport).toBe('string');
  });
});

describe('a prefill worker that has just started', () => {
  it('is read from by a decode worker whose discovery does not show it yet', async () => {
    const discovery = { kind: 'file', dir: temporaryFolder() } as const;
    const endpointOf = (runtime: DistributedRuntime): OfferEndpoint =>
      runtime.endpoint('test.prefill.kv_offers') as OfferEndpoint;
    const common = { model: 'tiny', nixl: 'mock' } as const;
    const receiver = await KvReceiver.connect(poolOf(), endpointOf(await testRuntime({ discovery })), common);
    onTestFinished(() => receiver.close());
    for (let round = 0; round < 5; round++) {
      const prefill = await testRuntime({ discovery });
      const offers = await KvOffers.serve(poolOf(), endpointOf(prefill), common);
      const prompt = promptOf(9, round);
      using transfer = receiver.accept(prefilled({ offers }, prompt), context());
      const sequence = opened(receiver.manager, prompt);
      await transfer?.into(sequence);
      expect(hasBytes(sequence, prompt)).toEqual([true, true]);
      sequence.dispose();
      await offers.close({ timeoutMs: 0 });
    }
  });
});

describe('an offer', () => {
  it('keeps its blocks from eviction until it is read', async () => {
    const both = await handoffPair({ source: { blockCount: 4 } });
    const request = prefilled(both, promptOf(12));
    expect([both.offers.manager.available, both.offers.isQuiescent]).toEqual([1, false]);
    using transfer = both.receiver.accept(request, context());
    await transfer?.into(opened(both.receiver.manager, promptOf(12)));
    expect([both.offers.manager.available, both.offers.isQuiescent]).toEqual([4, true]);
  });

  it('ends with its lease, and a later read fails with disagg.lease_lost', async () => {
    // A heartbeat must be answered within a lease.
    const both = await handoffPair({ offers: { leaseMs: 1000 } });
    const request = prefilled(both, promptOf(9));
    await waitFor('the end of the lease', () => both.offers.size === 0);
    expect(both.offers.statistics()).toMatchObject({ expired: 1, taken: 0 });
    using transfer = both.receiver.accept(request, context());
    const sequence = opened(both.receiver.manager, promptOf(9));
    const lost = { name: 'HandoffError', reason: 'disagg.lease_lost', code: 'DYN_UNAVAILABLE', retryable: true };
    await expect(transfer?.into(sequence)).rejects.toMatchObject(lost);
    expect(sequence.computedTokens).toBe(0);
    sequence.dispose();
    expect(freeBlocks(both)).toEqual([16, 16, 0]);
  });

  it('lives while its request waits for free blocks at the decode worker', async () => {
    const both = await handoffPair({ offers: { leaseMs: 500 } });
    using transfer = both.receiver.accept(prefilled(both, promptOf(9)), context());
    const since = performance.now();
    await waitFor('three leases', () => performance.now() - since > 1500);
    expect(both.offers.size).toBe(1);
    const sequence = opened(both.receiver.manager, promptOf(9));
    expect(await transfer?.into(sequence)).toMatchObject({ blocks: 2 });
    expect(hasBytes(sequence, promptOf(9))).toEqual([true, true]);
  });

  it('ends when the decode worker gives the request up', async () => {
    const both = await handoffPair();
    const abort = new AbortController();
    const transfer = both.receiver.accept(prefilled(both, promptOf(9)), context(abort.signal));
    abort.abort(new Error('the client is gone'));
    await expect(transfer?.into(opened(both.receiver.manager, promptOf(9)))).rejects.toThrow('the client is gone');
    transfer?.[Symbol.dispose]();
    transfer?.[Symbol.dispose]();
    await waitFor('the end of the offer', () => both.offers.size === 0);
    expect(both.offers.statistics()).toMatchObject({ abandoned: 1, taken: 0 });
    expect(both.receiver.statistics()).toEqual({ done: 0, failed: 1, abandoned: 1, quarantined: 0 });
  });

  it('is refused while there are maxOffers, with disagg.capacity', async () => {
    const both = await handoffPair({ offers: { maxOffers: 1 } });
    const request = prefilled(both, promptOf(5));
    expect(() => both.offers.begin(requestOf(promptOf(5)), context())).toThrow(
      expect.objectContaining({ reason: 'disagg.capacity', code: 'DYN_CAPACITY_EXHAUSTED', retryable: true }),
    );
    using transfer = both.receiver.accept(request, context());
    await transfer?.into(opened(both.receiver.manager, promptOf(5)));
    both.offers.begin(requestOf(promptOf(5)), context())[Symbol.dispose]();
    expect(both.offers.statistics().failed).toBe(1);
  });

  it('needs a computed sequence, and is made once', async () => {
    const { offers } = await handoffPair();
    using offer = offers.begin(requestOf(promptOf(5)), context());
    const sequence = opened(offers.manager, promptOf(5));
    expect(() => offer.publish(sequence)).toThrow('expected all 5 tokens to be computed, got 0');
    sequence.commit();
    offer.publish(sequence);
    expect(() => offer.publish(sequence)).toThrow(expect.objectContaining({ name: 'ClosedError' }));
  });

  it('is not made for a request that is cancelled', async () => {
    const both = await handoffPair();
    const abort = new AbortController();
    using offer = both.offers.begin(requestOf(promptOf(5)), context(abort.signal));
    const sequence = computed(both.offers.manager, promptOf(5));
    abort.abort(new Error('enough'));
    expect(() => offer.publish(sequence)).toThrow('enough');
    expect(both.offers.size).toBe(0);
  });

  it('disposes of its owner exactly once', async () => {
    const both = await handoffPair();
    let disposals = 0;
    using offer = both.offers.begin(requestOf(promptOf(5)), context());
    const sequence = computed(both.offers.manager, promptOf(5));
    const owner = { [Symbol.dispose]: () => void disposals++ };
    const params = offer.publish(sequence, owner);
    const request = requestOf(promptOf(5), { prefill_result: { disaggregated_params: params } });
    {
      using transfer = both.receiver.accept(request, context());
      await transfer?.into(opened(both.receiver.manager, promptOf(5)));
    }
    await both.offers.close();
    expect(disposals).toBe(1);
  });
});

describe('a transfer', () => {
  afterEach(() => knobs({}));

  it.each([
    ['disagg.version', { version: 2 }],
    ['disagg.handoff', { type: 'other' }],
    ['disagg.handoff', { tokens: -1 }],
  ])('is refused at once with %s for %j', async (reason, change) => {
    const both = await handoffPair({ offers: { leaseMs: 200 } });
    const request = prefilled(both, promptOf(9), (handoff) => ({ ...handoff, ...change }));
    expect(() => both.receiver.accept(request, context())).toThrow(
      expect.objectContaining({ name: 'HandoffError', reason }),
    );
    await waitFor('the blocks', () => freeBlocks(both), allFree);
  });

  it.each<[string, (handoff: KvHandoff) => Partial<KvHandoff>]>([
    ['disagg.model', () => ({ model: 'large' })],
    ['disagg.layout', ({ layout }) => ({ layout: layout.replace('"heads":2', '"heads":4') })],
    ['disagg.prompt', () => ({ prompt: '0'.repeat(32) })],
    ['disagg.prompt', ({ blocks }) => ({ tokens: 13, blocks: [...blocks, 15] })],
    ['disagg.blocks', ({ blocks }) => ({ blocks: blocks.slice(1) })],
    ['disagg.blocks', ({ blocks }) => ({ blocks: [...blocks.slice(1), 16] })],
    ['disagg.blocks', ({ blocks }) => ({ blocks: [...blocks].reverse() })],
    ['disagg.handoff', () => ({ endpoint: 'test.other.kv_offers' })],
    ['disagg.lease_lost', () => ({ offer: '00000000-0000-4000-8000-000000000000' })],
    ['disagg.peer_lost', () => ({ instance: '12345' })],
  ])('fails with %s if the content was changed on the way', async (reason, change) => {
    const both = await handoffPair({ offers: { leaseMs: 1000 } });
    const request = prefilled(both, promptOf(9), (handoff) => ({ ...handoff, ...change(handoff) }));
    const sequence = opened(both.receiver.manager, promptOf(9));
    {
      using transfer = both.receiver.accept(request, context());
      await expect(transfer?.into(sequence)).rejects.toMatchObject({ name: 'HandoffError', reason });
    }
    expect(sequence.computedTokens).toBe(0);
    sequence.dispose();
    await waitFor('the blocks', () => freeBlocks(both), allFree);
    // The next request works.
    using next = both.receiver.accept(prefilled(both, promptOf(9)), context());
    expect(await next?.into(opened(both.receiver.manager, promptOf(9)))).toMatchObject({ blocks: 2 });
  });

  it.each([
    ['disagg.model', { receiver: { model: 'large' } }],
    ['disagg.layout', { target: { layout: { ...layout, headDim: 16 } } }],
    ['disagg.layout', { target: { blockSize: 8 } }],
  ])('fails with %s if the workers differ: %j', async (reason, options) => {
    const both = await handoffPair({ ...options, offers: { leaseMs: 200 } });
    const request = prefilled(both, promptOf(9));
    using transfer = both.receiver.accept(request, context());
    await expect(transfer?.into(opened(both.receiver.manager, promptOf(9)))).rejects.toMatchObject({ reason });
    await waitFor('the end of the offer', () => both.offers.size === 0);
  });

  it('fails with disagg.timeout after timeoutMs, and keeps its pages until no byte is in flight', async () => {
    // The first transfer also connects, within the same limit.
    const both = await handoffPair({ receiver: { timeoutMs: 1000 }, offers: { leaseMs: 500 } });
    using warm = both.receiver.accept(prefilled(both, promptOf(2)), context());
    await warm?.into(opened(both.receiver.manager, promptOf(2)));
    const request = prefilled(both, promptOf(9));
    knobs({ completion: 'delayed', latencyUs: 3_000_000 });
    const sequence = opened(both.receiver.manager, promptOf(9));
    {
      using transfer = both.receiver.accept(request, context());
      const late = { reason: 'disagg.timeout', code: 'DYN_DEADLINE_EXCEEDED', retryable: true };
      await expect(transfer?.into(sequence)).rejects.toMatchObject(late);
    }
    sequence.dispose();
    expect(both.receiver.statistics().quarantined).toBe(2);
    // Heartbeats continue under the read, which takes longer than the lease.
    expect(both.offers.size).toBe(1);
    await waitFor('the blocks', () => both.receiver.statistics().quarantined === 0);
    await waitFor('the end of the offer', () => both.offers.size === 0);
    expect(both.offers.statistics()).toMatchObject({ expired: 0, abandoned: 1 });
  });

  it('rejects after an abort during the read, and returns its pages at the end of it', async () => {
    const both = await handoffPair();
    const abort = new AbortController();
    knobs({ completion: 'delayed', latencyUs: 300_000 });
    const sequence = opened(both.receiver.manager, promptOf(9));
    using transfer = both.receiver.accept(prefilled(both, promptOf(9)), context(abort.signal));
    const moving = transfer?.into(sequence);
    await waitFor('the read', () => both.receiver.statistics().quarantined === 2);
    abort.abort(new Error('enough'));
    await expect(moving).rejects.toThrow('enough');
    sequence.dispose();
    transfer?.[Symbol.dispose]();
    expect(both.offers.size).toBe(1);
    await waitFor('the blocks', () => freeBlocks(both), allFree);
  });

  it('fails with disagg.peer_lost if the agent of the prefill worker is lost', async () => {
    const both = await handoffPair();
    const agent = await agentNameOf(both.endpoint);
    // The prefill worker is connected.
    using before = both.receiver.accept(prefilled(both, promptOf(5)), context());
    const earlier = opened(both.receiver.manager, promptOf(5));
    await before?.into(earlier);
    earlier.dispose();
    const sequence = opened(both.receiver.manager, promptOf(9, 1));
    const request = prefilled(both, promptOf(9, 1));
    knobs({ completion: 'immediate', dropPeer: agent });
    {
      using transfer = both.receiver.accept(request, context());
      await expect(transfer?.into(sequence)).rejects.toMatchObject({
        name: 'HandoffError',
        reason: 'disagg.peer_lost',
        retryable: true,
      });
    }
    sequence.dispose();
    await waitFor('the blocks', () => freeBlocks(both), allFree);
  });

  it('ends with the close of the receiver, which does not wait for ever for a read', async () => {
    const both = await handoffPair({ receiver: { timeoutMs: 60_000 } });
    using waiting = both.receiver.accept(prefilled(both, promptOf(5)), context());
    knobs({ completion: 'delayed', neverComplete: true });
    using transfer = both.receiver.accept(prefilled(both, promptOf(9)), context());
    const moving = transfer?.into(opened(both.receiver.manager, promptOf(9)));
    const ended = expect(moving).rejects.toMatchObject({ name: 'ClosedError' });
    await waitFor('the read', () => both.receiver.statistics().quarantined === 2);
    const begin = performance.now();
    const closing = both.receiver.close({ timeoutMs: 200 });
    await ended;
    await closing;
    // The close of an agent with a transfer that never ends takes 5 s.
    expect(performance.now() - begin).toBeLessThan(15_000);
    await expect(waiting?.into(opened(both.receiver.manager, promptOf(5)))).rejects.toMatchObject({
      name: 'ClosedError',
    });
    expect(() => both.receiver.close({ timeoutMs: -1 })).toThrow(/timeoutMs/);
  });

  it.each(['disagg.timeout', 'enough'])('ends with %s while the prefill worker does not answer', async (what) => {
    const both = await handoffPair({ receiver: { timeoutMs: what === 'enough' ? 60_000 : 300 } });
    const silent = await (await testRuntime()).endpoint('test.prefill.kv_offers').serve(() => new Promise(() => {}));
    onTestFinished(() => silent.close({ timeoutMs: 0 }));
    const instance = String(silent.instance.instanceId);
    const request = prefilled(both, promptOf(9), (handoff) => ({ ...handoff, instance }));
    const abort = new AbortController();
    const begin = performance.now();
    {
      using transfer = both.receiver.accept(request, context(abort.signal));
      const sequence = opened(both.receiver.manager, promptOf(9));
      const moving = transfer?.into(sequence);
      if (what === 'enough') setTimeout(() => abort.abort(new Error(what)), 100);
      await expect(moving).rejects.toMatchObject(what === 'enough' ? { message: what } : { reason: what });
      sequence.dispose();
    }
    expect(performance.now() - begin).toBeLessThan(4000);
    expect(both.receiver.manager.available).toBe(16);
  });

  it('is refused with disagg.prompt if one of the sequences has another prompt', async () => {
    const both = await handoffPair();
    using transfer = both.receiver.accept(prefilled(both, promptOf(9)), context());
    const sequences = [opened(both.receiver.manager, promptOf(9)), opened(both.receiver.manager, promptOf(9, 1))];
    await expect(transfer?.into(sequences)).rejects.toMatchObject({ reason: 'disagg.prompt' });
    expect(sequences.map(({ computedTokens }) => computedTokens)).toEqual([0, 0]);
  });

  it('is made once', async () => {
    const both = await handoffPair();
    using transfer = both.receiver.accept(prefilled(both, promptOf(5)), context());
    await transfer?.into(opened(both.receiver.manager, promptOf(5)));
    await expect(transfer?.into(opened(both.receiver.manager, promptOf(5, 1)))).rejects.toMatchObject({
      name: 'ClosedError',
    });
  });

  it('is undefined for a request without a handoff', async () => {
    const { receiver } = await handoffPair();
    expect(receiver.accept(requestOf([1, 2]), context())).toBeUndefined();
  });
});

async function agentNameOf(endpoint: Awaited<ReturnType<typeof handoffPair>>['endpoint']): Promise<string> {
  const client = await endpoint.client();
  await client.waitForInstances();
  const { memory } = (await client.unary({ op: 'describe' })) as { memory: { agent: string } };
  return memory.agent;
}

describe('KvOffers and KvReceiver', () => {
  it('reject a library that the agent of the blocks does not have', async () => {
    const { endpoint } = await handoffPair();
    const agent = await NixlAgent.create('region', {
      library: loadNixl({ mode: 'mock' }),
      backends: { UCX: {}, POSIX: {} },
    });
    onTestFinished(async () => void (await agent.close()));
    const manager = poolOf();
    const path = join(temporaryFolder(), 'blocks');
    writeFileSync(path, '');
    const region = await agent.register({ path, bytes: manager.blockCount * manager.blockBytes });
    const blocks = poolOf({ tier: 'disk', storage: { kind: 'region', region } });
    const other = {
      reason: 'disagg.library',
      message: expect.stringContaining('options.nixl: expected mock, the library of the agent of the blocks, got real'),
    };
    const options = { model: 'tiny', nixl: 'real' } as const;
    await expect(KvOffers.serve(blocks, endpoint, options)).rejects.toMatchObject(other);
    await expect(KvReceiver.connect(blocks, endpoint, options)).rejects.toMatchObject(other);
  });

  it('reject wrong arguments', async () => {
    const { endpoint, offers } = await handoffPair();
    const manager = poolOf();
    await expect(KvOffers.serve({} as never, endpoint, { model: 'm' })).rejects.toThrow(
      'KvOffers.serve manager: expected an object of BlockManager, got an object',
    );
    await expect(KvOffers.serve(manager, endpoint, {} as never)).rejects.toThrow(
      'KvOffers.serve options.model: expected a string, got undefined',
    );
    await expect(KvReceiver.connect(manager, {} as never, { model: 'm' })).rejects.toThrow(
      'KvReceiver.connect endpoint: expected an object of Endpoint, got an object',
    );
    await expect(KvReceiver.connect(manager, endpoint, { model: 'm', nixl: 'ucx' as never })).rejects.toThrow(
      'KvReceiver.connect options.nixl: expected one of real, mock, auto, got "ucx"',
    );
    using offer = offers.begin(requestOf([1]), context());
    expect(() => offer.publish({} as never)).toThrow('offer.publish sequence: expected an object of PagedSequence');
  });

  it('answer an unknown request with DYN_INVALID_REQUEST', async () => {
    const { endpoint } = await handoffPair();
    const client = await endpoint.client();
    await client.waitForInstances({ timeoutMs: 30_000 });
    for (const request of [{ op: 'steal' }, {}, null, 'beat', { op: 'beat' }])
      await client.unary(request as never).then(
        (answer) => expect(answer).toEqual({ held: false }),
        (error) => expect(error).toMatchObject({ code: 'DYN_INVALID_REQUEST' }),
      );
  });

  it('have a close that waits for the present offers, and ends the others', async () => {
    const both = await handoffPair();
    const request = prefilled(both, promptOf(9));
    using transfer = both.receiver.accept(request, context());
    const closing = both.offers.close();
    await transfer?.into(opened(both.receiver.manager, promptOf(9)));
    await closing;
    expect(both.offers.statistics()).toMatchObject({ taken: 1, expired: 0 });

    const other = await handoffPair();
    prefilled(other, promptOf(9));
    await other.offers.close({ timeoutMs: 10 });
    expect(other.offers.statistics()).toMatchObject({ taken: 0, expired: 1 });
    expect(freeBlocks(other)).toEqual([16, 16, 0]);
    await other.receiver.close();
    await other.receiver.close();
    expect(() => other.receiver.accept(request, context())).toThrow(expect.objectContaining({ name: 'ClosedError' }));
  });
});
