import { type VllmKvEvent, VllmKvEvents } from 'dynamo-node/vllm';
import { describe, expect, it, onTestFinished } from 'vitest';
import { pack } from '../../../lib/addon/codec.js';
import { RawPeer } from '../../helpers/vllm/sockets.js';
import { waitFor } from '../../helpers/wait.js';

const CLEARED = pack([1.5, [{ type: 'AllBlocksCleared' }], 0]);

const sequence = (number: bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(number);
  return bytes;
};

async function eventsOf() {
  const [seen, losses]: [VllmKvEvent[], string[]] = [[], []];
  const events = await VllmKvEvents.listen({
    port: 0,
    topic: 'kv',
    onEvent: (event) => seen.push(event),
    onLoss: (message) => losses.push(message),
  });
  onTestFinished(() => events.close());
  return { events, seen, losses };
}

describe('VllmKvEvents', () => {
  it('subscribes to its topic when a publisher has connected', async () => {
    const { events } = await eventsOf();
    const publisher = await RawPeer.ready(events.port, 'PUB');
    await waitFor('the subscription', () => publisher.received.includes(Buffer.from('\x01kv', 'latin1')));
  });

  it('reports lost messages, and continues', async () => {
    const { events, seen, losses } = await eventsOf();
    const publisher = await RawPeer.ready(events.port, 'PUB');
    for (const number of [4n, 5n, 8n]) publisher.send(Buffer.from('kv'), sequence(number), CLEARED);
    await waitFor('every event', () => seen.length === 3);
    expect(losses).toEqual(['2 messages were lost']);
  });

  it.each<[string, Buffer[]]>([
    ['too few frames', [Buffer.from('kv'), sequence(0n)]],
    ['a short sequence number', [Buffer.from('kv'), Buffer.alloc(4), Buffer.from(CLEARED)]],
    ['a payload that is no batch', [Buffer.from('kv'), sequence(0n), Buffer.from(pack('text'))]],
  ])('reports a message with %s, and reads the next one', async (_what, parts) => {
    const { events, seen, losses } = await eventsOf();
    const publisher = await RawPeer.ready(events.port, 'PUB');
    publisher.send(...parts);
    publisher.send(Buffer.from('kv'), sequence(1n), CLEARED);
    await waitFor('the next event', () => seen.length === 1);
    expect(losses).toHaveLength(1);
  });

  it('survives callbacks that throw, with one warning for each', async () => {
    const warnings: string[] = [];
    const keep = (warning: Error): void => void warnings.push(warning.message);
    process.on('warning', keep);
    onTestFinished(() => void process.off('warning', keep));
    let calls = 0;
    const broken = (what: string) => () => {
      calls += 1;
      throw new Error(what);
    };
    const events = await VllmKvEvents.listen({ port: 0, onEvent: broken('event'), onLoss: broken('loss') });
    onTestFinished(() => events.close());
    const publisher = await RawPeer.ready(events.port, 'PUB');
    for (const number of [1n, 2n, 5n, 7n]) publisher.send(Buffer.from('kv'), sequence(number), CLEARED);
    await waitFor('every call', () => calls === 6);
    await waitFor('the warnings', () => warnings.length === 2);
    expect(warnings).toEqual([
      'the callback onEvent of KV events threw: event; further errors are not reported',
      'the callback onLoss of KV events threw: loss; further errors are not reported',
    ]);
  });

  it('closes a connection that is no publisher, and accepts the next one', async () => {
    const { events, seen, losses } = await eventsOf();
    const stranger = await RawPeer.ready(events.port, 'REQ');
    await stranger.closed;
    expect(losses).toEqual([expect.stringContaining('PUB')]);
    const publisher = await RawPeer.ready(events.port, 'PUB');
    publisher.send(Buffer.from('kv'), sequence(0n), CLEARED);
    await waitFor('an event', () => seen.length === 1);
  });

  it('closes twice, and rejects wrong options', async () => {
    const { events: first } = await eventsOf();
    await first.close();
    await first.close();
    await expect(VllmKvEvents.listen({ port: 70_000, onEvent: () => {} })).rejects.toThrow(/options.port/);
    await expect(VllmKvEvents.connect({ port: 1 } as never)).rejects.toThrow(/options.onEvent/);
    await expect(VllmKvEvents.connect({ port: 0, onEvent: () => {} })).rejects.toThrow(/options.port/);
    const { events } = await eventsOf();
    await expect(VllmKvEvents.listen({ port: events.port, onEvent: () => {} })).rejects.toMatchObject({
      reason: 'vllm.unreachable',
    });
  });
});
