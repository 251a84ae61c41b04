import { askSideChannel, SideChannel, type VllmKvEvent, VllmKvEvents } from 'dynamo-node/vllm';
import { expect, it, onTestFinished } from 'vitest';
import { type Child, pythonPeer } from '../../helpers/child.js';
import { missingPeers } from '../../helpers/interop/peers.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';
import { describeUnless } from '../../helpers/skipping.js';
import { handshakeOf } from '../../helpers/vllm/handshake.js';
import { waitFor } from '../../helpers/wait.js';

const host = '127.0.0.1';

function peerOf(...args: readonly string[]): Child {
  const python = pythonPeer('vllm.py', [...args], temporaryFolder());
  onTestFinished(() => python.stop());
  return python;
}

describeUnless(missingPeers, 'the side channel and pyzmq', () => {
  it('answers a reader of pyzmq, which decodes the metadata with the types of vLLM', async () => {
    const handshake = handshakeOf({ region_mem_types: ['DRAM', 'DRAM'], block_strides: [32768, 32768] });
    await using channel = await SideChannel.listen(() => handshake);
    const python = peerOf('ask', host, String(channel.port));
    expect(await python.event('answer')).toMatchObject({
      frames: 2,
      hash: 'a'.repeat(64),
      addresses: handshake.metadata.kv_caches_base_addr.map(String),
      engine: 'engine-1',
      agent: Buffer.from('agent').toString('hex'),
      strides: [32768, 32768],
      // Both processes read the monotonic clock of the machine.
      offset: expect.closeTo(0, 0),
    });
    expect((await python.exited).code).toBe(0);
    expect(channel.statistics()).toMatchObject({ answered: 1, refused: {} });
  });

  it('closes the connection of a reader that asks for a rank that it does not have', async () => {
    await using channel = await SideChannel.listen(() => handshakeOf());
    peerOf('ask', host, String(channel.port), '1');
    await waitFor('a refusal', () => channel.statistics().refused.rank);
    expect((await askSideChannel({ host, port: channel.port })).metadata.engine_id).toBe('engine-1');
  });

  it('reads the answer of a ROUTER of pyzmq with exact addresses', async () => {
    const python = peerOf('serve');
    const { port } = (await python.event('listening')) as unknown as { port: number };
    const { metadata, compatibilityHash, clockOffsetSeconds } = await askSideChannel({ host, port, timeoutMs: 20_000 });
    expect(await python.event('question')).toMatchObject({ message: 'get_meta_msg', pipeline: 0, tensor: 0 });
    expect(compatibilityHash).toBe('b'.repeat(64));
    expect(metadata).toMatchObject({
      engine_id: 'python',
      kv_caches_base_addr: [2n ** 33n + 1n, 2n ** 64n - 4096n],
      block_strides: [8192, 8192],
      ssm_sizes: [0, 0],
      physical_blocks_per_logical_kv_block: 2,
    });
    expect(Math.abs(clockOffsetSeconds)).toBeLessThan(1);
  });
});

const STORED = {
  type: 'BlockStored',
  block_hashes: [11, 12],
  parent_block_hash: null,
  token_ids: [1, 2, 3, 4],
  block_size: 2,
  lora_id: null,
  medium: 'CPU',
  lora_name: null,
  extra_keys: [null, ['salt']],
};
const EVENTS = [[STORED], [{ type: 'BlockRemoved', block_hashes: [11], medium: 'CPU' }, { type: 'AllBlocksCleared' }]];
const EXPECTED: VllmKvEvent[] = [
  {
    kind: 'stored',
    blockHashes: [11n, 12n],
    parentHash: undefined,
    tokens: [1, 2, 3, 4],
    blockSize: 2,
    extraKeys: [null, ['salt']],
  },
  { kind: 'removed', blockHashes: [11n] },
  { kind: 'cleared' },
];

describeUnless(missingPeers, 'KV events and pyzmq', () => {
  /** Publishes until the first batch has arrived: a PUB socket drops what it sends before the subscription. */
  async function publishUntil(python: Child, seen: readonly VllmKvEvent[]): Promise<void> {
    await waitFor('the first event', () => {
      if (seen.length === 0) python.send([STORED]);
      return seen.length;
    });
  }

  /** Publishes all events, and waits for the last one. Some of `publishUntil` may still come before them. */
  async function publishAll(python: Child, seen: readonly VllmKvEvent[]): Promise<void> {
    for (const batch of EVENTS) python.send(batch);
    await waitFor(
      'the last event',
      () => seen.at(-1)?.kind,
      (kind) => kind === 'cleared',
    );
  }

  it('reads the events of a publisher that binds', async () => {
    const python = peerOf('publish', 'bind', '0');
    const { port } = (await python.event('listening')) as unknown as { port: number };
    const seen: VllmKvEvent[] = [];
    const losses: string[] = [];
    await using _events = await VllmKvEvents.connect({
      port,
      onEvent: (event) => seen.push(event),
      onLoss: (message) => losses.push(message),
    });
    await publishUntil(python, seen);
    await publishAll(python, seen);
    expect(seen.slice(-3)).toEqual(EXPECTED);
    expect(losses).toEqual([]);
  });

  it('reads the events of a publisher that connects, and none of another topic', async () => {
    const [seen, others]: [VllmKvEvent[], VllmKvEvent[]] = [[], []];
    await using events = await VllmKvEvents.listen({ port: 0, topic: 'kv', onEvent: (event) => seen.push(event) });
    await using other = await VllmKvEvents.listen({ port: 0, topic: 'x', onEvent: (event) => others.push(event) });
    const python = peerOf('publish', 'connect', String(events.port));
    const stranger = peerOf('publish', 'connect', String(other.port));
    await python.event('listening');
    await stranger.event('listening');
    await publishUntil(python, seen);
    stranger.send([STORED]);
    await publishAll(python, seen);
    expect(seen.slice(-3)).toEqual(EXPECTED);
    expect(others).toEqual([]);
  });
});
