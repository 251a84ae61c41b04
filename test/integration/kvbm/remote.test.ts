import { join } from 'node:path';
import {
  BlockManager,
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
  TokenSequence,
} from 'dynamo-node';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { layoutText } from '../../../lib/kvbm/layout.js';
import { agentOf, nixlMissing } from '../../helpers/nixl/library.js';
import { randomNumbers } from '../../helpers/random.js';
import { temporaryFolder, testRuntime } from '../../helpers/runtime/runtime.js';
import { waitFor } from '../../helpers/wait.js';

const blockSize = 4;
const layout = { layers: 2, heads: 2, headDim: 16, elementType: 'float32' } as const;

function testManager(options: Partial<BlockManagerOptions> = {}): BlockManager {
  const manager = new BlockManager({
    tier: 'host',
    blockCount: 8,
    blockSize,
    layout,
    storage: { kind: 'memory', checksums: true },
    events: true,
    ...options,
  });
  onTestFinished(() => manager.dispose());
  return manager;
}

function sequenceOf(blocks: number, seed = 0): TokenSequence {
  const sequence = new TokenSequence(
    Uint32Array.from({ length: blocks * blockSize }, (_, index) => seed * 1000 + index),
    { blockSize },
  );
  onTestFinished(() => sequence.dispose());
  return sequence;
}

function fill(sequence: TokenSequence, index: number, bytes: number): Uint8Array {
  const random = randomNumbers(Number(sequence.lineageHashes(index, 1).at(0) & 0xffff_ffffn));
  return Uint8Array.from({ length: bytes }, () => random() * 256);
}

function store(manager: BlockManager, sequence: TokenSequence): RegisteredBlocks {
  const blocks = manager.allocateOrThrow(sequence.blockCount);
  for (let index = 0; index < blocks.length; index++)
    blocks.bytes(index).set(fill(sequence, index, manager.blockBytes));
  return blocks.stage(sequence).register();
}

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

describe.each(['mock', 'ucx'] as const)('blocks of another manager, over %s', (kind) => {
  beforeEach(({ skip }) => {
    const missing = kind === 'ucx' ? nixlMissing() : undefined;
    skip(missing !== undefined, missing);
  });

  const agent = (name: string): Promise<NixlAgent> => agentOf(kind, name);
  const pair = (options: ShareOptions = {}, reading: Partial<BlockManagerOptions> = {}): Promise<Pair> =>
    pairOf(kind, options, reading);

  it('are found, pulled and registered, byte for byte, with what their events need', async () => {
    const { owner, shared, reader, remote } = await pair();
    const sequence = sequenceOf(5);
    store(owner, sequenceOf(4)).dispose();
    await using events = reader.events();
    using pulled = await remote.pull(sequence);
    expect(pulled?.length).toBe(4);
    for (let index = 0; index < 4; index++)
      expect(Buffer.compare((pulled as RegisteredBlocks).view(index), fill(sequence, index, reader.blockBytes))).toBe(
        0,
      );
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

  it('are left where there is no room, and the lease goes', async () => {
    const { owner, shared, reader, remote } = await pair({}, { blockCount: 2 });
    store(owner, sequenceOf(3)).dispose();
    expect(await remote.pull(sequenceOf(3))).toBeUndefined();
    expect([shared.leases, owner.available, reader.available]).toEqual([0, 8, 2]);
  });

  it('are never taken from an owner that closes meanwhile', async () => {
    const { owner, shared, reader, remote } = await pair();
    const sequence = sequenceOf(3);
    store(owner, sequence).dispose();
    // The lease ends between finding and reading, behind the answer that gives it.
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

  it('are never taken after an expiry', async () => {
    const { owner, shared, reader, remote } = await pair({ mostLeaseMs: 1 });
    const sequence = sequenceOf(8);
    store(owner, sequence).dispose();
    const allocate = reader.allocate.bind(reader);
    reader.allocate = (count) => {
      // The owner's timer runs out before the reader begins to read.
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

  it('are held for their reader: nothing evicts them meanwhile, and an expiry gives them back', async () => {
    const { runtime, owner, shared } = await pair({ mostLeaseMs: 3000 });
    store(owner, sequenceOf(6)).dispose();
    const client = await runtime.endpoint<ShareRequest, ShareResponse>('kvbm.owner.blocks').client();
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

  it('are not found beyond the leases that may be out, and are again once one is over', async () => {
    const { runtime, owner, shared, remote } = await pair({ mostLeases: 1 });
    const sequence = sequenceOf(2);
    store(owner, sequence).dispose();
    const client = await runtime.endpoint<ShareRequest, ShareResponse>('kvbm.owner.blocks').client();
    const { lease } = (await client.unary({ op: 'find', names: sequence.lineageHashes().bytes, leaseMs: 60_000 })) as {
      lease: number;
    };
    expect(await remote.pull(sequence)).toBeUndefined();
    expect(shared.leases).toBe(1);
    expect(await client.unary({ op: 'release', lease })).toEqual({ held: true });
    using pulled = await remote.pull(sequence);
    expect(pulled?.length).toBe(2);
  });

  it('are refused where the owner has other bytes than it stored', async () => {
    const { owner, reader, remote } = await pair();
    const sequence = sequenceOf(2);
    const stored = store(owner, sequence);
    stored.view(1).fill(0);
    await expect(remote.pull(sequence)).rejects.toMatchObject({ name: 'BlockChecksumError' });
    expect([reader.available, reader.matchPrefix(sequence)]).toEqual([8, undefined]);
  });

  it('are not even looked for where the layouts differ', async () => {
    const runtime = await testRuntime();
    const endpoint = runtime.endpoint<ShareRequest, ShareResponse>('kvbm.owner.blocks');
    const shared = await SharedBlocks.serve(testManager(), await agent('owner'), endpoint);
    onTestFinished(() => shared.close());
    const client = await endpoint.client({ mode: 'direct' });
    const [instance] = await client.waitForInstances();
    const other = testManager({ layout: { ...layout, layers: 4, heads: 1 } });
    await expect(
      RemoteBlocks.connect(other, await agent('reader'), client, instance?.instanceId as bigint),
    ).rejects.toMatchObject({ name: 'BlockLayoutError' });
  });

  it('are given up with the signal, and go back when their transfer has ended', async () => {
    const { owner, reader, remote } = await pair();
    const sequence = sequenceOf(4);
    store(owner, sequence).dispose();
    const abort = new AbortController();
    const allocate = reader.allocate.bind(reader);
    reader.allocate = (count) => {
      setImmediate(() => abort.abort(new Error('enough')));
      return allocate(count);
    };
    const outcome = await remote.pull(sequence, 0, { signal: abort.signal }).catch((error: Error) => error.message);
    // The bytes may be there before the signal.
    if (typeof outcome === 'string') expect(outcome).toBe('enough');
    else outcome?.dispose();
    await waitFor(
      'the blocks',
      () => [reader.available, owner.available, remote.statistics().quarantined],
      ([ours, theirs, left]) => ours === 8 && theirs === 8 && left === 0,
    );
  });
});

describe('blocks that are pulled no longer are held until no byte can be on its way', () => {
  const knobs = (mock: MockKnobs): void => void loadNixl({ mode: 'mock', mock });
  afterEach(() => knobs({}));

  async function held(): Promise<Pair & { sequence: TokenSequence }> {
    const both = await pairOf('mock');
    const sequence = sequenceOf(4);
    store(both.owner, sequence).dispose();
    knobs({ completion: 'delayed', latencyUs: 6_000_000 });
    return { ...both, sequence };
  }

  async function comeBack({ owner, reader, remote, sequence }: Awaited<ReturnType<typeof held>>): Promise<void> {
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

  it('though their signal was aborted', async () => {
    const both = await held();
    const abort = new AbortController();
    const allocate = both.reader.allocate.bind(both.reader);
    both.reader.allocate = (count) => {
      setImmediate(() => abort.abort(new Error('enough')));
      return allocate(count);
    };
    await expect(both.remote.pull(both.sequence, 0, { signal: abort.signal })).rejects.toThrow('enough');
    await comeBack(both);
  });

  it('though their time was over', async () => {
    const both = await held();
    const late = { code: 'DYN_DEADLINE_EXCEEDED', reason: 'kvbm.pull_timeout', operation: 'remote.pull' };
    await expect(both.remote.pull(both.sequence, 0, { timeoutMs: 3000 })).rejects.toMatchObject(late);
    await comeBack(both);
  });
});

it('blocks of an owner that tells no events are told of here where they are pulled by their tokens', async () => {
  const { owner, reader, remote } = await pairOf('mock', {}, {}, { events: false });
  const sequence = sequenceOf(4);
  store(owner, sequence).dispose();
  await using events = reader.events();
  using unknown = await remote.pull(sequence.lineageHashes(0, 1));
  expect(unknown?.length).toBe(1);
  using behind = await remote.pull(sequence, 2);
  const described = (first: number, parentHash: bigint | null) => ({
    kind: 'stored',
    parentHash,
    startPosition: first,
    blockHashes: sequence.sequenceHashes(first, 2),
    tokensHashes: sequence.blockHashes(first, 2),
  });
  expect((await events.next()).value).toMatchObject(described(2, sequence.sequenceHashes(1, 1)[0] as bigint));
  unknown?.dispose();
  behind?.dispose();
  reader.drainInactive();
  expect((await events.next()).value).toMatchObject({ kind: 'removed' });
  using all = await remote.pull(sequenceOf(2));
  expect(all?.length).toBe(2);
  expect((await events.next()).value).toMatchObject(described(0, null));
});

it.each([
  ['more blocks than it was asked for', [0, 1, 2]],
  ['no block', []],
  ['what is no id', [0.5]],
  ['nothing that has ids', undefined],
])('an owner that answers with %s is refused, and loses nothing', async (_, ids) => {
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
  await waitFor('the lease’s end', () => released.length > 0);
  expect(released).toEqual([7]);
});

/** A reader of an owner that answers every search the same. */
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

it('an owner that closes lends nothing more', async () => {
  const { runtime, owner, shared } = await pairOf('mock');
  const sequence = sequenceOf(2);
  store(owner, sequence).dispose();
  const client = await runtime.endpoint<ShareRequest, ShareResponse>('kvbm.owner.blocks').client();
  await client.waitForInstances();
  const match = owner.matchPrefix.bind(owner);
  let asked = 0;
  let closing: Promise<void> | undefined;
  // The first of many searches finds the owner as it closes.
  owner.matchPrefix = (...names) => {
    asked += 1;
    closing ??= shared.close();
    return match(...names);
  };
  const find = { op: 'find', names: sequence.lineageHashes().bytes, leaseMs: 60_000 } as const;
  const answers = await Promise.allSettled(
    Array.from({ length: 20 }, () => client.unary(find) as Promise<{ lease: number }>),
  );
  await closing;
  expect(asked).toBe(1);
  expect(answers.filter((one) => one.status === 'fulfilled' && one.value.lease !== 0).length).toBeLessThan(2);
  expect([shared.leases, owner.available]).toEqual([0, 8]);
});

it('a reader that is closed pulls nothing, and nothing is lent to it', async () => {
  const { owner, shared, remote } = await pairOf('mock');
  const sequence = sequenceOf(2);
  store(owner, sequence).dispose();
  await remote.close();
  await remote.close();
  await expect(remote.pull(sequence)).rejects.toMatchObject({ name: 'ClosedError', operation: 'remote.pull' });
  expect([shared.leases, owner.available]).toEqual([0, 8]);
});

it('blocks without memory are neither shared nor pulled into', async () => {
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
  const bare = new BlockManager({ tier: 'host', blockCount: 8, blockSize });
  onTestFinished(() => bare.dispose());
  const ownFile = testManager({ tier: 'disk', storage: { kind: 'file', path: join(temporaryFolder(), 'blocks') } });
  for (const manager of [bare, ownFile]) {
    expect(() => manager.registerWith(agent)).toThrow(TypeError);
    await expect(SharedBlocks.serve(manager, agent, endpoint)).rejects.toThrow(TypeError);
    await expect(RemoteBlocks.connect(manager, agent, client, remote.instanceId)).rejects.toThrow(TypeError);
  }
});
