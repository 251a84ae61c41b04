import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import * as library from 'dynamo-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Case, expectRefusals, isObject } from '../../helpers/invalid-values.js';
import { root } from '../../helpers/project.js';

const LAYOUT = { layers: 1, heads: 1, headDim: 1, elementType: 'float32' } as const;

/** Objects that need no runtime. */
const live = async () => {
  const manager = new library.BlockManager({
    tier: 'host',
    blockCount: 64,
    blockSize: 4,
    layout: LAYOUT,
    events: true,
  });
  const lower = new library.BlockManager({
    tier: 'disk',
    blockCount: 8,
    blockSize: 4,
    layout: LAYOUT,
    registry: manager.registry,
  });
  const sequence = new library.TokenSequence([1, 2, 3, 4, 5, 6, 7, 8], { blockSize: 4 });
  const agent = await library.NixlAgent.create('methods', {
    library: library.loadNixl({ mode: 'mock' }),
    backends: { UCX: {} },
  });
  const region = await agent.allocate(4096);
  const list = await agent.blocks(region, 1024);
  const service = await library.SelectionService.create();
  return {
    manager,
    sequence,
    names: sequence.lineageHashes(),
    mutable: manager.allocateOrThrow(2),
    staged: manager.allocateOrThrow(2).stage(sequence),
    registered: manager.allocateOrThrow(2).stage(sequence).register(),
    paged: library.PagedSequence.create(manager, [9, 9, 9, 9, 9]) as library.PagedSequence,
    registry: new library.BlockRegistry({ events: true }),
    tiers: new library.BlockTiers(manager, lower),
    agent,
    region,
    list,
    remote: agent.self.memory(region.descriptor()),
    prepared: await agent.prepare('WRITE', region.slice(0, 8), agent.self.memory(region.descriptor()).slice(8, 8)),
    indexer: new library.KvIndexer({ blockSize: 4 }),
    tree: new library.RadixTree(),
    service,
  };
};
let on: Awaited<ReturnType<typeof live>>;

beforeAll(async () => {
  on = await live();
});

const none = Int32Array.of();

/** Each method with arguments, by its class. Another word names the open argument if it is not the first. */
const CASES: Record<string, Case> = {
  'BlockManager#allocate': [(wrong) => on.manager.allocate(wrong)],
  'BlockManager#allocateOrThrow': [(wrong) => on.manager.allocateOrThrow(wrong)],
  'BlockManager#matchPrefix': [(wrong) => on.manager.matchPrefix(wrong)],
  'BlockManager#matchPrefix first': [(wrong) => on.manager.matchPrefix(on.sequence, wrong)],
  'BlockManager#matchPrefix count': [(wrong) => on.manager.matchPrefix(on.sequence, 0, wrong)],
  'BlockManager#matchEach': [(wrong) => on.manager.matchEach(wrong)],
  'BlockManager#scan': [(wrong) => on.manager.scan(wrong)],
  'BlockManager#copy': [(wrong) => on.manager.copy(wrong, on.mutable)],
  'BlockManager#copy to': [(wrong) => on.manager.copy(on.registered, wrong)],
  'BlockManager#copy options': [(wrong) => on.manager.copy(on.registered, on.mutable, wrong), isObject],
  'BlockManager#events': [(wrong) => on.manager.events(wrong), isObject],
  'BlockManager#events snapshot': [(wrong) => on.manager.events({ snapshot: wrong }), (value) => value === true],
  'BlockManager#registerWith': [(wrong) => on.manager.registerWith(wrong)],
  'MutableBlocks#bytes': [(wrong) => on.mutable.bytes(wrong)],
  'MutableBlocks#write': [(wrong) => on.mutable.write(wrong, new Uint8Array(16))],
  'MutableBlocks#write bytes': [(wrong) => on.mutable.write(0, wrong)],
  'MutableBlocks#stage': [(wrong) => on.mutable.stage(wrong)],
  'MutableBlocks#stage first': [(wrong) => on.mutable.stage(on.sequence, wrong)],
  'MutableBlocks#stageAs': [(wrong) => on.mutable.stageAs(wrong)],
  'MutableBlocks#commit': [(wrong) => on.mutable.commit(wrong, 0, 1)],
  'MutableBlocks#commit first': [(wrong) => on.mutable.commit(on.sequence, wrong, 1)],
  'MutableBlocks#commit count': [(wrong) => on.mutable.commit(on.sequence, 0, wrong)],
  'MutableBlocks#split': [(wrong) => on.mutable.split(wrong)],
  'MutableBlocks#join': [(wrong) => on.mutable.join(wrong)],
  'RegisteredBlocks#view': [(wrong) => on.registered.view(wrong)],
  'RegisteredBlocks#read': [(wrong) => on.registered.read(wrong)],
  'RegisteredBlocks#clone': [(wrong) => on.registered.clone(wrong)],
  'RegisteredBlocks#clone end': [(wrong) => on.registered.clone(0, wrong)],
  'RegisteredBlocks#split': [(wrong) => on.registered.split(wrong)],
  'RegisteredBlocks#join': [(wrong) => on.registered.join(wrong)],
  'RegisteredBlocks#resetOnRelease': [(wrong) => on.registered.resetOnRelease(wrong), (value) => value === true],
  'PagedSequence#append': [(wrong) => on.paged.append(wrong)],
  'PagedSequence#reserve': [(wrong) => on.paged.reserve(wrong)],
  'PagedSequence#commit': [(wrong) => on.paged.commit(wrong)],
  'PagedSequence#page': [(wrong) => on.paged.page(wrong)],
  'BlockRegistry#presence': [(wrong) => on.registry.presence(wrong)],
  'BlockRegistry#presence tiers': [(wrong) => on.registry.presence(on.names, wrong)],
  'BlockRegistry#frequency': [(wrong) => on.registry.frequency(wrong)],
  'BlockRegistry#touch': [(wrong) => on.registry.touch(wrong)],
  'TokenSequence#append': [(wrong) => on.sequence.append(wrong)],
  'TokenSequence#extend': [(wrong) => on.sequence.extend(wrong)],
  'TokenSequence#extend options': [(wrong) => on.sequence.extend([], wrong), isObject],
  'TokenSequence#truncate': [(wrong) => on.sequence.truncate(wrong)],
  'TokenSequence#tokens': [(wrong) => on.sequence.tokens(wrong)],
  'TokenSequence#blockHashes': [(wrong) => on.sequence.blockHashes(wrong)],
  'TokenSequence#sequenceHashes': [(wrong) => on.sequence.sequenceHashes(wrong)],
  'TokenSequence#lineageHashes': [(wrong) => on.sequence.lineageHashes(wrong)],
  'LineageHashes#at': [(wrong) => on.names.at(wrong)],
  'LineageHashes#slice': [(wrong) => on.names.slice(wrong)],
  'BlockTiers#offload': [(wrong) => on.tiers.offload(wrong)],
  'BlockTiers#onboard': [(wrong) => on.tiers.onboard(wrong)],
  'BlockTiers#onboard first': [(wrong) => on.tiers.onboard(on.sequence, wrong)],
  'BlockTiers#enqueue': [(wrong) => on.tiers.enqueue(wrong)],
  'KvIndexer#apply': [(wrong) => on.indexer.apply(wrong)],
  'KvIndexer#findMatches': [(wrong) => on.indexer.findMatches(wrong)],
  'KvIndexer#findMatchesSync': [(wrong) => on.indexer.findMatchesSync(wrong)],
  'KvIndexer#findMatchesForTokens': [(wrong) => on.indexer.findMatchesForTokens(wrong)],
  'KvIndexer#routed': [(wrong) => on.indexer.routed(wrong, []), (value) => value === 1n],
  'KvIndexer#routed hashes': [(wrong) => on.indexer.routed(1n, wrong)],
  'KvIndexer#removeWorker': [(wrong) => on.indexer.removeWorker(wrong), (value) => value === 1n],
  'RadixTree#apply': [(wrong) => on.tree.apply(wrong)],
  'RadixTree#findMatches': [(wrong) => on.tree.findMatches(wrong)],
  'RadixTree#findMatches options': [(wrong) => on.tree.findMatches([], wrong), isObject],
  'RadixTree#removeWorker': [(wrong) => on.tree.removeWorker(wrong), (value) => value === 1n],
  'SelectionService#putWorker': [(wrong) => on.service.putWorker(wrong)],
  'SelectionService#removeWorker': [(wrong) => on.service.removeWorker(wrong), (value) => value === 1n],
  'SelectionService#workerIds': [(wrong) => on.service.workerIds(wrong), isObject],
  'SelectionService#apply': [(wrong) => on.service.apply(wrong)],
  'SelectionService#apply pool': [(wrong) => on.service.apply([], wrong), isObject],
  'SelectionService#select': [(wrong) => on.service.select(wrong)],
  'SelectionService#reserve': [(wrong) => on.service.reserve(wrong)],
  'SelectionService#prefillCompleted': [(wrong) => on.service.prefillCompleted(wrong)],
  'SelectionService#outputBlock': [(wrong) => on.service.outputBlock(wrong)],
  'SelectionService#free': [(wrong) => on.service.free(wrong)],
  'SelectionService#explain': [(wrong) => on.service.explain(wrong)],
  'SelectionService#explain options': [(wrong) => on.service.explain({ tokens: [1] }, wrong), isObject],
  'SelectionService#overlapScores': [(wrong) => on.service.overlapScores(wrong)],
  'SelectionService#potentialLoads': [(wrong) => on.service.potentialLoads(wrong)],
  'SelectionService#addPeer': [(wrong) => on.service.addPeer(wrong)],
  'SelectionService#removePeer': [(wrong) => on.service.removePeer(wrong)],
  'NixlAgent#plugins': [(wrong) => on.agent.plugins(wrong), isObject],
  'NixlAgent#createBackend': [(wrong) => on.agent.createBackend(wrong)],
  'NixlAgent#createBackend params': [(wrong) => on.agent.createBackend('POSIX', wrong), isObject],
  'NixlAgent#allocate': [(wrong) => on.agent.allocate(wrong)],
  'NixlAgent#register': [(wrong) => on.agent.register(wrong)],
  'NixlAgent#registerMany': [(wrong) => on.agent.registerMany(wrong)],
  'NixlAgent#metadata': [(wrong) => on.agent.metadata(wrong), isObject],
  'NixlAgent#connect': [(wrong) => on.agent.connect(wrong)],
  'NixlAgent#sendMetadata': [(wrong) => on.agent.sendMetadata(wrong)],
  'NixlAgent#fetch': [(wrong) => on.agent.fetch(wrong)],
  'NixlAgent#accept': [(wrong) => on.agent.accept(wrong)],
  'NixlAgent#withdrawMetadata': [(wrong) => on.agent.withdrawMetadata(wrong)],
  'NixlAgent#read': [(wrong) => on.agent.read(wrong, on.remote)],
  'NixlAgent#write': [(wrong) => on.agent.write(on.region, wrong)],
  'NixlAgent#transfer': [(wrong) => on.agent.transfer(wrong, on.region, on.remote)],
  'NixlAgent#prepare': [(wrong) => on.agent.prepare(wrong, on.region, on.remote)],
  'NixlAgent#blocks': [(wrong) => on.agent.blocks(wrong)],
  'NixlAgent#blocks options': [(wrong) => on.agent.blocks(on.region, wrong), isObject],
  'NixlAgent#blocks stride': [(wrong) => on.agent.blocks(on.region, { blockBytes: 1024, stride: wrong })],
  'NixlAgent#transferBlocks': [(wrong) => on.agent.transferBlocks(wrong, on.list, none, on.list, none)],
  'NixlAgent#transferBlocks local': [(wrong) => on.agent.transferBlocks('READ', wrong, none, on.list, none)],
  'NixlAgent#transferBlocks indices': [(wrong) => on.agent.transferBlocks('READ', on.list, wrong, on.list, none)],
  'NixlAgent#prepareBlocks': [(wrong) => on.agent.prepareBlocks(wrong, on.list, none, on.list, none)],
  'NixlAgent#notifications': [(wrong) => on.agent.notifications(wrong), isObject],
  'NixlAgent#queryMemory': [(wrong) => on.agent.queryMemory(wrong, [], 'POSIX')],
  'NixlAgent#queryMemory keys': [(wrong) => on.agent.queryMemory('FILE', wrong, 'POSIX')],
  'NixlAgent#queryMemory backend': [(wrong) => on.agent.queryMemory('FILE', [], wrong)],
  'NixlAgent#close': [(wrong) => on.agent.close(wrong), isObject],
  'BlockList#release': [(wrong) => on.list.release(wrong), isObject],
  'NixlLibrary#supports': [(wrong) => on.agent.library.supports(wrong)],
  'MemoryRegion#slice': [(wrong) => on.region.slice(wrong)],
  'MemoryRegion#upload': [(wrong) => on.region.upload(wrong)],
  'MemoryRegion#upload offset': [(wrong) => on.region.upload(new Uint8Array(1), wrong)],
  'MemoryRegion#download': [(wrong) => on.region.download(wrong)],
  'MemoryRegion#release': [(wrong) => on.region.release(wrong), isObject],
  'MemorySlice#slice': [(wrong) => on.region.slice(0).slice(wrong)],
  'RemoteMemory#slice': [(wrong) => on.remote.slice(wrong)],
  'NixlPeer#memory': [(wrong) => on.agent.self.memory(wrong)],
  'NixlPeer#notify': [(wrong) => on.agent.self.notify(wrong)],
  'NixlPeer#disconnect': [(wrong) => on.agent.self.disconnect(wrong), isObject],
  'PreparedTransfer#post': [(wrong) => on.prepared.post(wrong), isObject],
  'PreparedTransfer#estimate': [(wrong) => on.prepared.estimate(wrong), isObject],
  'PreparedTransfer#telemetry': [(wrong) => on.prepared.telemetry(wrong), isObject],
  'PreparedTransfer#release': [(wrong) => on.prepared.release(wrong), isObject],
};

/** The names that the tests of bad input use for the objects of a class. */
const CALLED: Record<string, string> = {
  Client: 'client',
  Component: 'component',
  Counter: 'counter',
  DistributedRuntime: 'runtime',
  Endpoint: 'endpoint',
  Entrypoint: 'frontend',
  FirstTokenSource: 'firstTokens',
  ForwardPassPublisher: 'forwardPass',
  Frontend: 'frontend',
  Gauge: 'gauge',
  Histogram: 'histogram',
  KvPublisher: 'kvPublisher',
  KvRouter: 'kvRouter',
  Metrics: 'metrics',
  MetricsText: 'metricsText',
  Namespace: 'namespace',
  Place: 'namespace',
  ServedEndpoint: 'served',
  ServedEngine: 'worker',
  WorkerMetricsPublisher: 'workerMetricsPublisher',
};

/** Methods without arguments, or with arguments that cannot be wrong. */
const TAKE_NOTHING = [
  'Closeable#close',
  'DisposableHandle#dispose',
  'Annotated#wire',
  'BlockManager#share',
  'BlockManager#statistics',
  'BlockManager#drainInactive',
  'BlockManager#dispose',
  'BlockRegistry#events',
  'BlockTiers#close',
  'BlockTiers#flush',
  'BlockTiers#statistics',
  'Blocks#dispose',
  'Client#instances',
  'Client#watch',
  'DistributedRuntime#instances',
  'DistributedRuntime#metricsText',
  'Endpoint#register',
  'Endpoint#unregister',
  'ForwardPassSubscriber#close',
  'ForwardPassSubscriber#latest',
  'KvIndexer#dump',
  'KvPublisher#cleared',
  'KvRouter#dump',
  'MemoryRegion#descriptor',
  'MemoryRegion#token',
  'Metrics#text',
  'Notifications#next',
  'Notifications#return',
  'PagedSequence#blockTable',
  'PagedSequence#blockTableInt32',
  'PagedSequence#dispose',
  'PagedSequence#fork',
  'StreamIterator#next',
  'StreamIterator#return',
  'StreamIterator#throw',
  'RadixTree#dump',
  'RegisteredBlocks#hashes',
  'RegisteredBlocks#weak',
  'RemoteBlocks#close',
  'RemoteBlocks#statistics',
  'ResponseStream#collect',
  'ResponseStream#kill',
  'ResponseStream#stop',
  'SelectionService#snapshot',
  'SharedBlocks#close',
  'SharedRegion#release',
  'StagedBlocks#hashes',
  'StagedBlocks#register',
  'StagedBlocks#reset',
  'TokenSequence#clone',
  'TokenSequence#dispose',
  'TokenSequence#saltHash',
  'WeakBlocks#hashes',
  'WeakBlocks#upgrade',
];

/** Tested in another file: an event is any value, a pull needs another process, a service needs a runtime. */
const ELSEWHERE = ['EventPublisher#publish', 'RemoteBlocks#pull', 'RunningService#close'];

/** For the library's own use. The published declarations lack them. */
const INTERNAL = [
  'Closeable#handle',
  'DisposableHandle#handle',
  'BlockList#bytesOf',
  'BlockList#handle',
  'MutableBlocks#stageWith',
  'RegisteredBlocks#checksums',
  'RegisteredBlocks#identities',
  'PagedSequence#lease',
  'TokenSequence#identities',
  'TokenSequence#handle',
  'NixlAgent#forget',
  'NixlAgent#handle',
  'MemoryRegion#assertAttached',
  'MemoryRegion#assertOpen',
  'MemoryRegion#handle',
  'MemoryRegion#ended',
  'MemoryRegion#noticeDetached',
  'DistributedRuntime#handle',
  'DistributedRuntime#adopt',
  'DistributedRuntime#onClose',
  'Endpoint#handle',
  'Endpoint#watchCards',
  'Place#subscribeBytes',
  'Blocks#id',
  'Blocks#end',
  'Blocks#lease',
  'Blocks#setIds',
  'Blocks#viewOf',
  'Blocks#watch',
  'Blocks#detach',
  'Entrypoint#checkOpen',
  'Metric#change',
  'StreamIterator#start',
  'StreamIterator#fail',
];

/** Names of methods that users cannot call on any class. */
const NOT_PUBLIC = new Set(['constructor', 'closeHandle', 'disposeHandle']);

/** The public methods of an exported class, each with the class that defines it: the exported class or a base class. */
function methods(value: unknown): string[] {
  const found: string[] = [];
  if (typeof value !== 'function') return found;
  for (
    let at = value.prototype as object | null | undefined;
    at && at !== Object.prototype && at !== Error.prototype;
    at = Object.getPrototypeOf(at) as object | null
  ) {
    for (const [name, { value: method }] of Object.entries(Object.getOwnPropertyDescriptors(at))) {
      if (!NOT_PUBLIC.has(name) && typeof method === 'function') found.push(`${at.constructor.name}#${name}`);
    }
  }
  return found;
}

describe('all public methods', () => {
  it('have a case of wrong arguments, here or in the tests of bad input', () => {
    const badInput = readFileSync(join(root, 'test/integration/runtime/bad-input.test.ts'), 'utf8');
    const elsewhere = new Set([...badInput.matchAll(/^ {2}\[\s*'([\w.]+)/gm)].map(([, name]) => name));
    const all = [...new Set(Object.values(library).flatMap(methods))];
    const here = [
      ...Object.keys(CASES).map((name) => name.split(' ')[0] as string),
      ...TAKE_NOTHING,
      ...ELSEWHERE,
      ...INTERNAL,
    ];
    const isKnown = (name: string): boolean => {
      const [owner, method] = name.split('#') as [string, string];
      return here.includes(name) || elsewhere.has(`${CALLED[owner]}.${method}`);
    };
    expect(
      all.filter((name) => !isKnown(name)),
      'public, and without a case',
    ).toEqual([]);
    expect(
      here.filter((name) => !all.includes(name)),
      'no longer exists',
    ).toEqual([]);
  });

  let tried = 0;
  afterAll(async () => {
    await on.agent.close();
    console.log(`${Object.keys(CASES).length} arguments of methods tried with ${tried} wrong values`);
  });

  it.each(Object.entries(CASES))('%s rejects wrong values, and names them', async (_, one) => {
    tried += await expectRefusals(one);
  });
});
