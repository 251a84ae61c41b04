import {
  BlockManager,
  NixlAgent,
  RemoteBlocks,
  type ShareRequest,
  type ShareResponse,
  TokenSequence,
} from 'dynamo-node';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { Child } from '../../helpers/child.js';
import { libraryOf, nixlMissing, uniqueName } from '../../helpers/nixl/library.js';
import { temporaryFolder, testRuntime } from '../../helpers/runtime/runtime.js';
import { waitFor } from '../../helpers/wait.js';

beforeEach(({ skip }) => {
  const missing = nixlMissing();
  skip(missing !== undefined, missing);
});

const layout = { layers: 4, heads: 4, headDim: 64, elementType: 'float32' } as const;

async function withOwner(): Promise<{
  owner: Child;
  reader: BlockManager;
  remote: RemoteBlocks;
  sequence: TokenSequence;
}> {
  const dir = temporaryFolder();
  const owner = Child.program('test/helpers/kvbm/programs/blocks-owner.ts', [dir]);
  onTestFinished(() => owner.stop());
  await owner.event('ready');
  const runtime = await testRuntime({ discovery: { kind: 'file', dir } });
  const client = await runtime.endpoint<ShareRequest, ShareResponse>('kvbm.owner.blocks').client({ mode: 'direct' });
  const [instance] = await client.waitForInstances({ timeoutMs: 30_000 });
  const reader = new BlockManager({
    tier: 'host',
    blockCount: 32,
    blockSize: 16,
    layout,
    storage: { kind: 'memory', checksums: true },
  });
  onTestFinished(() => reader.dispose());
  const agent = await NixlAgent.create(uniqueName('reader'), { library: libraryOf('ucx') });
  onTestFinished(async () => void (await agent.close({ timeoutMs: 5000 })));
  const remote = await RemoteBlocks.connect(reader, agent, client, instance?.instanceId as bigint);
  const sequence = new TokenSequence(new Uint32Array(16 * 16), { blockSize: 16 });
  return { owner, reader, remote, sequence };
}

describe('RemoteBlocks.pull from another process', () => {
  it('returns blocks of another process, and rejects after the process was killed', async () => {
    const { owner, reader, remote, sequence } = await withOwner();
    const pulled = await remote.pull(sequence.lineageHashes(0, 4), 0, { timeoutMs: 20_000 });
    expect(pulled?.length).toBe(4);
    for (let index = 0; index < 4; index++) expect(pulled?.view(index).every((byte) => byte === index + 1)).toBe(true);
    pulled?.dispose();
    owner.kill('SIGKILL');
    await owner.exited;
    await expect(remote.pull(sequence, 4, { timeoutMs: 3000 })).rejects.toThrow();
    expect(reader.available).toBe(32);
  });

  it('rejects if the owner is killed during the read, and registers no block', async () => {
    const { owner, reader, remote, sequence } = await withOwner();
    (await remote.pull(sequence.lineageHashes(0, 1), 0, { timeoutMs: 20_000 }))?.dispose();
    const allocate = reader.allocate.bind(reader);
    reader.allocate = (count) => {
      owner.kill('SIGKILL');
      return allocate(count);
    };
    await expect(remote.pull(sequence, 1, { timeoutMs: 3000 })).rejects.toThrow();
    reader.allocate = allocate;
    expect(reader.matchPrefix(sequence)?.length).toBe(1);
    // An abandoned transfer may still write to its blocks, so they are quarantined until it fails.
    expect(reader.available + remote.statistics().quarantined).toBe(31);
    await waitFor(
      'the blocks',
      () => [reader.available, remote.statistics().quarantined],
      ([available, quarantined]) => available === 31 && quarantined === 0,
      30_000,
    );
  });
});
