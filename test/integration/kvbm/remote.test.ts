import { join } from 'node:path';
import {
  type BlockManager,
  type BlockManagerOptions,
  type DistributedRuntime,
  loadNixl,
  type MockKnobs,
  type NixlAgent,
  type RegisteredBlocks,
  RemoteBlocks,
  SharedBlocks,
  type ShareOptions,
  type ShareRequest,
  type ShareResponse,
  type TokenSequence,
} from 'dynamo-node';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { layoutText } from '../../../lib/kvbm/layout.js';
import { areRight, hostManager, layout, namesManager, sequenceOf, store } from '../../helpers/kvbm/blocks.js';
import { agentOf, nixlMissing } from '../../helpers/nixl/library.js';
import { temporaryFolder, testRuntime } from '../../helpers/runtime/runtime.js';
import { waitFor } from '../../helpers/wait.js';

const testManager = (options: Partial<BlockManagerOptions> = {}): BlockManager =>
  hostManager({ events: true, ...options });

interface Pair {
  readonly runtime: DistributedRuntime;
  readonly owner: BlockManager;
  readonly shared: SharedBlocks;
  readonly reader: BlockManager;
  readonly remote: RemoteBlocks;
}

async function pairOf(
  kind: 'mock' | 'ucx',
  options: ShareOptions = {},
  reading: Partial<BlockManagerOptions> = {},
  owning: Partial<BlockManagerOptions> = {},
): Promise<Pair> {
  const runtime = await testRuntime();
  const endpoint = runtime.endpoint<ShareRequest, ShareResponse>('kvbm.owner.blocks');
  const owner = testManager(owning);
  const shared = await SharedBlocks.serve(owner, await agentOf(kind, 'owner'), endpoint, options);
  onTestFinished(() => shared.close());
  const reader = testManager(reading);
  const client = await endpoint.client({ mode: 'direct' });
  const [instance] = await client.waitForInstances();
  if (instance === undefined) throw new Error('expected an instance, got none');
  const remote = await RemoteBlocks.connect(reader, await agentOf(kind, 'reader'), client, instance.instanceId);
  onTestFinished(() => remote.close());
  return { runtime, owner, shared, reader, remote };
}

describe.each(['mock', 'ucx'] as const)('RemoteBlocks.pull over %s', (kind) => {
  beforeEach(({ skip }) => {
    const missing = kind === 'ucx' ? nixlMissing() : undefined;
    skip(missing !== undefined, missing);
  });

  const agent = (name: string): Promise<NixlAgent> => agentOf(kind, name);
  const pair = (options: ShareOptions = {}, reading: Partial<BlockManagerOptions> = {}): Promise<Pair> =>
    pairOf(kind, options, reading);

  it('returns the blocks with their bytes, and registers them with the hashes that events need', async () => {
    const { owner, shared, reader, remote } = await pair();
    const sequence = sequenceOf(5);
    (await store(owner, sequenceOf(4))).dispose();
    await using events = reader.events();
    using pulled = await remote.pull(sequence);
    expect(pulled?.length).toBe(4);
    expect(await areRight(pulled as RegisteredBlocks, sequence)).toEqual(Array(4).fill(true));
    expect(reader.matchPrefix(sequence)?.length).toBe(4);
    expect((await events.next()).value).toMatchObject({
      kind: 'stored',
      parentHash: null,
      startPosition: 0,
      tokensHashes: sequence.blockHashes(0, 4),
    });
    using rest = await remote.pull(sequence, 2);
    expect([...(rest as RegisteredBlocks).hashes()]).toEqual([...sequence.lineageHashes(2, 2)]);
    expect(await remote.pull(sequenceOf(2, 9))).toBeUndefined();
    expect(await remote.pull(sequence, 4)).toBeUndefined();
    expect([shared.leases, owner.available, remote.statistics()]).toEqual([
      0,
      8,
      { pulled: 6, discarded: 0, quarantined: 0 },
    ]);
  });

  it('returns undefined and releases the lease if the local manager is full', async () => {
    const { owner, shared, reader, remote } = await pair({}, { blockCount: 2 });
    (await store(owner, sequenceOf(3))).dispose();
    expect(await remote.pull(sequenceOf(3))).toBeUndefined();
    expect([shared.leases, owner.available, reader.available]).toEqual([0, 8, 2]);
  });

  it('rejects if the owner closes during the pull', async () => {
    const { owner, shared, reader, remote } = await pair();
    const sequence = sequenceOf(3);
    (await store(owner, sequence)).dispose();
    // The lease ends between finding and reading, after the answer that contains it.
    const find = owner.matchPrefix.bind(owner);
    owner.matchPrefix = (...names) => {
      const found = find(...names);
      queueMicrotask(() => void shared.close());
      return found;
    };
    await expect(remote.pull(sequence)).rejects.toThrow();
    await waitFor(
      'the blocks of both',
      () => [reader.available, owner.available],
      (available) => available.every((count) => count === 8),
    );
    expect([reader.matchPrefix(sequence), remote.statistics().pulled]).toEqual([undefined, 0]);
  });

  it('rejects if the lease expires before the read', async () => {
    const { owner, shared, reader, remote } = await pair({ maxLeaseMs: 1 });
    const sequence = sequenceOf(8);
    (await store(owner, sequence)).dispose();
    const allocate = reader.allocate.bind(reader);
    reader.allocate = (count) => {
      // The owner's timer fires before the reader begins to read.
      const until = performance.now() + 20;
      while (performance.now() < until);
      return allocate(count);
    };
    await expect(remote.pull(sequence)).rejects.toMatchObject({
      code: 'DYN_UNAVAILABLE',
      reason: 'kvbm.lease_lost',
      retryable: true,
    });
    await waitFor(
      'the blocks',
      () => [reader.available, shared.leases],
      ([available, leases]) => available === 8 && leases === 0,
    );
    expect(reader.matchPrefix(sequence)).toBeUndefined();
  });

  it('keeps leased blocks from eviction until the lease expires', async () => {
    const { runtime, owner, shared } = await pair({ maxLeaseMs: 3000 });
    (await store(owner, sequenceOf(6))).dispose();
    const client = await runtime.endpoint<ShareRequest, ShareResponse>('kvbm.owner.blocks').client();
    await client.waitForInstances({ timeoutMs: 30_000 });
    const { lease } = (await client.unary({
      op: 'find',
      names: sequenceOf(6).lineageHashes().bytes,
      leaseMs: 60_000,
    })) as { lease: number };
    expect([owner.allocate(3), shared.leases]).toEqual([null, 1]);
    await waitFor(
      'the lease',
      () => shared.leases,
      (leases) => leases === 0,
      30_000,
    );
    expect(await client.unary({ op: 'release', lease })).toEqual({ held: false });
    expect(owner.allocateOrThrow(8).length).toBe(8);
    await expect(client.unary({ op: 'steal' } as never)).rejects.toMatchObject({ code: 'DYN_INVALID_REQUEST' });
  });

  it('returns undefined while the owner has maxLeases leases', async () => {
    const { runtime, owner, shared, remote } = await pair({ maxLeases: 1 });
    const sequence = sequenceOf(2);
    (await store(owner, sequence)).dispose();
    const client = await runtime.endpoint<ShareRequest, ShareResponse>('kvbm.owner.blocks').client();
    await client.waitForInstances({ timeoutMs: 30_000 });
    const { lease } = (await client.unary({ op: 'find', names: sequence.lineageHashes().bytes, leaseMs: 60_000 })) as {
      lease: number;
    };
    expect(await remote.pull(sequence)).toBeUndefined();
    expect(shared.leases).toBe(1);
    expect(await client.unary({ op: 'release', lease })).toEqual({ held: true });
    using pulled = await remote.pull(sequence);
    expect(pulled?.length).toBe(2);
  });

  it('rejects bytes that differ from those that the owner stored with BlockChecksumError', async () => {
    const { owner, reader, remote } = await pair();
    const sequence = sequenceOf(2);
    const stored = await store(owner, sequence);
    stored.view(1).fill(0);
    await expect(remote.pull(sequence)).rejects.toMatchObject({ name: 'BlockChecksumError' });
    expect([reader.available, reader.matchPrefix(sequence)]).toEqual([8, undefined]);
  });

  it('cannot connect to an owner with a different layout', async () => {
    const runtime = await testRuntime();
    const endpoint = runtime.endpoint<ShareRequest, ShareResponse>('kvbm.owner.blocks');
    const shared = await SharedBlocks.serve(testManager(), await agent('owner'), endpoint);
    onTestFinished(() => shared.close());
    const client = await endpoint.client({ mode: 'direct' });
    const [instance] = await client.waitForInstances();
    const other = testManager({ layout: { ...layout, layers: 8, heads: 1 } });
    await expect(
      RemoteBlocks.connect(other, await agent('reader'), client, instance?.instanceId as bigint),
    ).rejects.toMatchObject({ name: 'BlockLayoutError' });
  });

  it('rejects after an abort, and releases the blocks when their transfer has ended', async () => {
    const { owner, reader, remote } = await pair();
    const sequence = sequenceOf(4);
    (await store(owner, sequence)).dispose();
    const abort = new AbortController();
    const allocate = reader.allocate.bind(reader);
    reader.allocate = (count) => {
      setImmediate(() => abort.abort(new Error('enough')));
      return allocate(count);
    };
    const outcome = await remote.pull(sequence, 0, { signal: abort.signal }).catch((error: Error) => error.message);
    // The bytes may arrive before the signal.
    if (typeof outcome === 'string') expect(outcome).toBe('enough');
    else outcome?.dispose();
    await waitFor(
      'the blocks',
      () => [reader.available, owner.available, remote.statistics().quarantined],
      ([ours, theirs, left]) => ours === 8 && theirs === 8 && left === 0,
    );
  });
});

describe('an abandoned pull keeps its blocks until no byte is in flight', () => {
  const knobs = (mock: MockKnobs): void => void loadNixl({ mode: 'mock', mock });
  afterEach(() => knobs({}));

  async function delayedPair(): Promise<Pair & { sequence: TokenSequence }> {
    const both = await pairOf('mock');
    const sequence = sequenceOf(4);
    (await store(both.owner, sequence)).dispose();
    knobs({ completion: 'delayed', latencyUs: 6_000_000 });
    return { ...both, sequence };
  }

  async function expectReturn({
    owner,
    reader,
    remote,
    sequence,
  }: Awaited<ReturnType<typeof delayedPair>>): Promise<void> {
    expect([remote.statistics(), reader.available]).toEqual([{ pulled: 0, discarded: 1, quarantined: 4 }, 4]);
    await waitFor(
      'the blocks',
      () => [reader.available, owner.available, remote.statistics().quarantined],
      ([ours, theirs, left]) => ours === 8 && theirs === 8 && left === 0,
      30_000,
    );
    expect(reader.matchPrefix(sequence)).toBeUndefined();
    knobs({});
    using pulled = await remote.pull(sequence);
    expect(pulled?.length).toBe(4);
  }

  it('after an abort', async () => {
    const both = await delayedPair();
    const abort = new AbortController();
    const allocate = both.reader.allocate.bind(both.reader);
    both.reader.allocate = (count) => {
      setImmediate(() => abort.abort(new Error('enough')));
      return allocate(count);
    };
    await expect(both.remote.pull(both.sequence, 0, { signal: abort.signal })).rejects.toThrow('enough');
    await expectReturn(both);
  });

  it('after a timeout', async () => {
    const both = await delayedPair();
    const late = { code: 'DYN_DEADLINE_EXCEEDED', reason: 'kvbm.pull_timeout', operation: 'remote.pull' };
    await expect(both.remote.pull(both.sequence, 0, { timeoutMs: 3000 })).rejects.toMatchObject(late);
    await expectReturn(both);
  });
});

/** A reader of an owner that always returns the same answer to `find`. */
async function withAnswers(
  answer: ShareResponse,
): Promise<{ reader: BlockManager; remote: RemoteBlocks; released: number[] }> {
  const endpoint = (await testRuntime()).endpoint<ShareRequest, ShareResponse>('kvbm.owner.blocks');
  const owner = testManager();
  const agent = await agentOf('mock', 'owner');
  const region = await owner.registerWith(agent);
  const released: number[] = [];
  const served = await endpoint.serve(async (request) => {
    if (request.op === 'find') return answer;
    if (request.op === 'release') return { held: released.push(request.lease) > 0 };
    return {
      layout: layoutText(owner),
      blockBytes: owner.blockBytes,
      metadata: await agent.metadata(),
      memory: region.descriptor(),
    };
  });
  onTestFinished(() => served.close());
  const client = await endpoint.client({ mode: 'direct' });
  const [instance] = await client.waitForInstances();
  const reader = testManager();
  const remote = await RemoteBlocks.connect(
    reader,
    await agentOf('mock', 'reader'),
    client,
    instance?.instanceId as bigint,
  );
  onTestFinished(() => remote.close());
  return { reader, remote, released };
}

describe('shared blocks', () => {
  it('reports events of blocks that are pulled by their tokens if the owner has none', async () => {
    const { owner, reader, remote } = await pairOf('mock', {}, {}, { events: false });
    const sequence = sequenceOf(4);
    (await store(owner, sequence)).dispose();
    await using events = reader.events();
    using unknown = await remote.pull(sequence.lineageHashes(0, 1));
    expect(unknown?.length).toBe(1);
    using rest = await remote.pull(sequence, 2);
    const described = (first: number, parentHash: bigint | null) => ({
      kind: 'stored',
      parentHash,
      startPosition: first,
      blockHashes: sequence.sequenceHashes(first, 2),
      tokensHashes: sequence.blockHashes(first, 2),
    });
    expect((await events.next()).value).toMatchObject(described(2, sequence.sequenceHashes(1, 1)[0] as bigint));
    unknown?.dispose();
    rest?.dispose();
    reader.drainInactive();
    expect((await events.next()).value).toMatchObject({ kind: 'removed' });
    using all = await remote.pull(sequenceOf(2));
    expect(all?.length).toBe(2);
    expect((await events.next()).value).toMatchObject(described(0, null));
  });

  it.each([
    ['more blocks than requested', [0, 1, 2]],
    ['no block', []],
    ['a fraction as an id', [0.5]],
    ['no ids', undefined],
  ])('rejects an answer with %s, and releases the lease', async (_, ids) => {
    const { reader, remote, released } = await withAnswers({
      lease: 7,
      ids,
      checksums: new Uint8Array(),
      identities: new Uint8Array(),
    } as never);
    await expect(remote.pull(sequenceOf(2))).rejects.toMatchObject({
      code: 'DYN_BACKEND_PROTOCOL',
      reason: 'kvbm.answer',
      operation: 'remote.pull',
    });
    expect(reader.available).toBe(8);
    await waitFor('the end of the lease', () => released.length > 0);
    expect(released).toEqual([7]);
  });

  it('grants no lease while the owner closes', async () => {
    const { runtime, owner, shared } = await pairOf('mock');
    const sequence = sequenceOf(2);
    (await store(owner, sequence)).dispose();
    const client = await runtime.endpoint<ShareRequest, ShareResponse>('kvbm.owner.blocks').client();
    await client.waitForInstances({ timeoutMs: 30_000 });
    await client.waitForInstances();
    const match = owner.matchPrefix.bind(owner);
    let requests = 0;
    let closing: Promise<void> | undefined;
    // The first of many requests makes the owner close.
    owner.matchPrefix = (...names) => {
      requests += 1;
      closing ??= shared.close();
      return match(...names);
    };
    const find = { op: 'find', names: sequence.lineageHashes().bytes, leaseMs: 60_000 } as const;
    const answers = await Promise.allSettled(
      Array.from({ length: 20 }, () => client.unary(find) as Promise<{ lease: number }>),
    );
    await closing;
    expect(requests).toBe(1);
    expect(answers.filter((one) => one.status === 'fulfilled' && one.value.lease !== 0).length).toBeLessThan(2);
    expect([shared.leases, owner.available]).toEqual([0, 8]);
  });

  it('throws ClosedError after close, and requests no lease', async () => {
    const { owner, shared, remote } = await pairOf('mock');
    const sequence = sequenceOf(2);
    (await store(owner, sequence)).dispose();
    await remote.close();
    await remote.close();
    await expect(remote.pull(sequence)).rejects.toMatchObject({ name: 'ClosedError', operation: 'remote.pull' });
    expect([shared.leases, owner.available]).toEqual([0, 8]);
  });

  it('rejects managers without memory', async () => {
    const { runtime, remote } = await pairOf('mock');
    const endpoint = runtime.endpoint<ShareRequest, ShareResponse>('kvbm.owner.blocks');
    const client = await endpoint.client({ mode: 'direct' });
    const agent = await agentOf('mock', 'files', { backends: { UCX: {}, POSIX: {} } });
    const region = await agent.register({
      path: join(temporaryFolder(), 'blocks'),
      bytes: 8 * remote.manager.blockBytes,
      access: 'write',
      create: true,
    });
    const inFile = testManager({ tier: 'disk', storage: { kind: 'region', region } });
    await expect(SharedBlocks.serve(inFile, agent, endpoint)).rejects.toThrow(
      new TypeError(
        'SharedBlocks.serve manager: expected blocks in memory, got blocks in a file, which no peer can reach',
      ),
    );
    await expect(RemoteBlocks.connect(inFile, agent, client, remote.instanceId)).rejects.toThrow(
      new TypeError(
        'RemoteBlocks.connect manager: expected blocks in memory, got blocks in a file, which no peer can fill',
      ),
    );
    const bare = namesManager();
    const ownFile = testManager({ tier: 'disk', storage: { kind: 'file', path: join(temporaryFolder(), 'blocks') } });
    for (const manager of [bare, ownFile]) {
      expect(() => manager.registerWith(agent)).toThrow(TypeError);
      await expect(SharedBlocks.serve(manager, agent, endpoint)).rejects.toThrow(TypeError);
      await expect(RemoteBlocks.connect(manager, agent, client, remote.instanceId)).rejects.toThrow(TypeError);
    }
  });
});
