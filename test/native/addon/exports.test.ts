import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import * as library from 'dynamo-node';
import { afterAll, describe, expect, it } from 'vitest';
import { type Case, expectRefusals, isObject } from '../../helpers/invalid-values.js';
import { root } from '../../helpers/project.js';

const CASES: Record<string, Case> = {
  BlockManager: [(wrong) => new library.BlockManager(wrong)],
  'BlockManager.attach': [(wrong) => library.BlockManager.attach(wrong)],
  BlockRegistry: [(wrong) => new library.BlockRegistry(wrong), isObject],
  BlockTiers: [(wrong) => new library.BlockTiers(wrong, wrong)],
  'BuiltInWorker.start': [
    (wrong) => library.BuiltInWorker.start({ discovery: { kind: 'mem' } }, wrong, { kind: 'echo', modelName: 'x' }),
  ],
  KvIndexer: [(wrong) => new library.KvIndexer(wrong)],
  'LineageHashes.from': [(wrong) => library.LineageHashes.from(wrong)],
  'NixlAgent.create': [(wrong) => library.NixlAgent.create(wrong), isObject],
  'PagedSequence.create': [(wrong) => library.PagedSequence.create(wrong, [1])],
  'RemoteBlocks.connect': [(wrong) => library.RemoteBlocks.connect(wrong, wrong, wrong, wrong)],
  'SelectionService.create': [(wrong) => library.SelectionService.create(wrong), isObject],
  'SharedBlocks.serve': [(wrong) => library.SharedBlocks.serve(wrong, wrong, wrong)],
  TokenSequence: [(wrong) => new library.TokenSequence(wrong, { blockSize: 4 })],
  blockBytes: [(wrong) => library.blockBytes(wrong, 4)],
  computeBlockHashes: [(wrong) => library.computeBlockHashes(wrong, 4)],
  computeSequenceHashes: [(wrong) => library.computeSequenceHashes(wrong)],
  decidePrefillPlace: [(wrong) => library.decidePrefillPlace({}, { promptTokens: wrong, cachedTokens: 0 })],
  encodeEmbedding: [
    (wrong) => library.encodeEmbedding(wrong),
    (value) =>
      value instanceof Float32Array ||
      value instanceof Float64Array ||
      (Array.isArray(value) && value.every((one) => typeof one === 'number')),
  ],
  formatExplanation: [(wrong) => library.formatExplanation(wrong)],
  formatNixlReport: [(wrong) => library.formatNixlReport(wrong)],
  loadNixl: [(wrong) => library.loadNixl(wrong), isObject],
  nixlDoctor: [(wrong) => library.nixlDoctor(wrong), isObject],
  nixlExplain: [(wrong) => library.nixlExplain(wrong), isObject],
  connectService: [(wrong) => library.connectService(wrong, wrong)],
  startService: [(wrong) => library.startService(wrong, wrong, wrong)],
  startLog: [(wrong) => library.startLog(wrong), isObject],
  attachRegion: [(wrong) => library.attachRegion(wrong)],
  replayTrace: [(wrong) => library.replayTrace(wrong)],
};

/** Functions without arguments, or with arguments that cannot be wrong. */
const TAKE_NOTHING = [
  'DynamoError.is',
  'RadixTree',
  'currentRequest',
  'healthCheckFromEnvironment',
  'modelParsers',
  'versions',
];

/** Classes whose objects the library returns, and errors that it throws. Users do not construct them. */
const HANDED_OUT = [
  'BlockChecksumError',
  'BlockFileError',
  'BlockLayoutError',
  'BlockList',
  'BlockStateError',
  'BlocksExhaustedError',
  'BuiltInWorker',
  'Client',
  'ClosedError',
  'Component',
  'Counter',
  'DistributedRuntime',
  'Endpoint',
  'EventPublisher',
  'FirstTokenSource',
  'ForwardPassPublisher',
  'ForwardPassRelay',
  'ForwardPassSubscriber',
  'Frontend',
  'Gauge',
  'Histogram',
  'KvPublisher',
  'KvRouter',
  'LineageHashes',
  'MemoryRegion',
  'MemorySlice',
  'Metrics',
  'MetricsText',
  'MutableBlocks',
  'Namespace',
  'NixlAgent',
  'NixlError',
  'NixlLibrary',
  'NixlLoadError',
  'NixlPeer',
  'Notifications',
  'PagedSequence',
  'PreparedTransfer',
  'RegisteredBlocks',
  'RemoteBlocks',
  'RemoteMemory',
  'RequestCancelled',
  'ResponseStream',
  'RunningService',
  'SelectionService',
  'ServedEndpoint',
  'ServedEngine',
  'SharedBlocks',
  'SharedRegion',
  'StagedBlocks',
  'WeakBlocks',
  'WorkerMetricsPublisher',
];

/** Internal functions, which the published declarations omit. */
const INTERNAL = ['BlockRegistry.of', 'Client.create', 'EventPublisher.create', 'NixlPeer.of', 'PreparedTransfer.of'];

/** The functions of an export that users can call: itself and its static functions. */
function callable(name: string, value: unknown): string[] {
  if (typeof value !== 'function') return [];
  const members = Object.getOwnPropertyNames(value).filter(
    (key) => key !== 'prototype' && typeof (value as unknown as Record<string, unknown>)[key] === 'function',
  );
  return [name, ...members.map((member) => `${name}.${member}`)];
}

describe('all exported functions', () => {
  it('have a case of wrong arguments, here or in the tests of bad input', () => {
    const badInput = readFileSync(join(root, 'test/integration/runtime/bad-input.test.ts'), 'utf8');
    const elsewhere = [...badInput.matchAll(/^ {2}\[\s*'(?:new )?([\w.]+)/gm)].map(([, name]) => name as string);
    const known = new Set([...Object.keys(CASES), ...TAKE_NOTHING, ...HANDED_OUT, ...INTERNAL, ...elsewhere]);
    const all = Object.entries(library).flatMap(([name, value]) => callable(name, value));
    expect(
      all.filter((name) => !known.has(name)),
      'exported, and without a case',
    ).toEqual([]);
    const here = [...Object.keys(CASES), ...TAKE_NOTHING, ...HANDED_OUT, ...INTERNAL];
    expect(
      here.filter((name) => !all.includes(name)),
      'no longer exported',
    ).toEqual([]);
  });

  let tried = 0;
  afterAll(() => console.log(`${Object.keys(CASES).length} exports tried with ${tried} wrong arguments`));

  it.each(Object.entries(CASES))('%s rejects wrong values, and names them', async (_, one) => {
    tried += await expectRefusals(one);
  });
});
