import { createServer } from 'node:net';
import {
  askSideChannel,
  encodeHandshake,
  SideChannel,
  type SideChannelFault,
  type SideChannelOptions,
} from 'dynamo-node/vllm';
import { describe, expect, it, onTestFinished } from 'vitest';
import { pack } from '../../../lib/addon/codec.js';
import { commandOf, frameOf, GREETING, readyOf } from '../../../lib/vllm/zmtp-frames.js';
import { handshakeOf } from '../../helpers/vllm/handshake.js';
import { RawPeer } from '../../helpers/vllm/sockets.js';
import { waitFor } from '../../helpers/wait.js';

const host = '127.0.0.1';
const QUESTION = pack([Buffer.from('get_meta_msg'), 0, 0]);

async function channelOf(options: SideChannelOptions = {}): Promise<SideChannel> {
  const channel = await SideChannel.listen(() => handshakeOf(), options);
  onTestFinished(() => channel.close());
  return channel;
}

/** A server that sends these bytes to whoever connects. */
async function serverOf(answer: (received: Buffer) => Buffer | undefined): Promise<number> {
  const server = createServer((socket) => {
    let received = Buffer.alloc(0);
    socket.on('error', () => {});
    socket.on('data', (data) => {
      received = Buffer.concat([received, data]);
      const bytes = answer(received);
      if (bytes !== undefined) socket.write(bytes);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  onTestFinished(() => void server.close());
  return (server.address() as { port: number }).port;
}

/** A server that speaks ZMTP as a ROUTER, and answers the question with these parts. */
function routerOf(...parts: readonly Uint8Array[]): Promise<number> {
  let sent = 0;
  return serverOf((received) => {
    if (sent === 0) {
      sent += 1;
      return Buffer.concat([GREETING, readyOf('ROUTER')]);
    }
    if (sent === 1 && received.includes('get_meta_msg')) {
      sent += 1;
      return Buffer.concat(parts.map((part, index) => frameOf(part, 'part', index + 1 < parts.length)));
    }
    return undefined;
  });
}

describe('SideChannel', () => {
  it('answers a question with metadata, hash and clock', async () => {
    const channel = await channelOf();
    const answer = await askSideChannel({ host, port: channel.port });
    expect(answer).toMatchObject(handshakeOf());
    expect(answer.metadata.kv_caches_base_addr).toEqual([0x7f12_3456_7890n, 0xffff_ffff_ffff_f000n]);
    // Both ends have the same clock.
    expect(Math.abs(answer.clockOffsetSeconds)).toBeLessThan(1);
    expect(channel.statistics()).toEqual({ connections: 1, answered: 1, refused: {} });
  });

  it('answers many questions at a time, and several on one connection', async () => {
    const channel = await channelOf();
    await Promise.all(Array.from({ length: 20 }, () => askSideChannel({ host, port: channel.port })));
    const peer = await RawPeer.ready(channel.port);
    for (let count = 1; count <= 3; count++) {
      peer.send([], QUESTION);
      await waitFor(
        'answers',
        () => channel.statistics().answered,
        (answered) => answered === 20 + count,
      );
    }
    expect(channel.statistics().refused).toEqual({});
  });

  it('listens on loopback unless told otherwise', async () => {
    expect((await channelOf()).host).toBe(host);
  });

  it('answers for each rank that it has, and for no other', async () => {
    const channel = await SideChannel.listen((rank) => handshakeOf({ engine_id: `rank-${rank}` }), { ranks: 2 });
    onTestFinished(() => channel.close());
    const { port } = channel;
    expect((await askSideChannel({ host, port, rank: { tensor: 1 } })).metadata.engine_id).toBe('rank-1');
    const failure = { reason: 'vllm.unreachable' };
    await expect(askSideChannel({ host, port, rank: { tensor: 2 } })).rejects.toMatchObject(failure);
    await expect(askSideChannel({ host, port, rank: { pipeline: 1 } })).rejects.toMatchObject(failure);
    expect(channel.statistics()).toMatchObject({ answered: 1, refused: { rank: 2 } });
  });

  const property = (name: string, value: string): Buffer =>
    Buffer.concat([Buffer.of(name.length), Buffer.from(name), Buffer.of(0, 0, 0, value.length), Buffer.from(value)]);
  const ready = (...properties: readonly Buffer[]): Buffer => commandOf('READY', Buffer.concat(properties));
  const greeted = (...bytes: readonly Uint8Array[]): Buffer => Buffer.concat([GREETING, ...bytes]);
  const asked = (...bytes: readonly Uint8Array[]): Buffer => greeted(readyOf('REQ'), ...bytes);
  const changed = (at: number, value: number): Buffer => {
    const greeting = Buffer.from(GREETING);
    greeting[at] = value;
    return greeting;
  };
  const long = (size: bigint): Buffer => {
    const header = Buffer.alloc(9);
    header[0] = 2;
    header.writeBigUInt64BE(size, 1);
    return header;
  };

  it.each<[string, SideChannelFault, Buffer]>([
    ['HTTP', 'greeting', Buffer.from('GET / HTTP/1.1\r\nhost: a\r\n\r\n')],
    ['ZMTP 2', 'version', changed(10, 1)],
    ['another mechanism', 'mechanism', changed(12, 0x50)],
    ['another command than READY', 'handshake', greeted(commandOf('HELLO', Buffer.alloc(0)))],
    ['a message before READY', 'handshake', greeted(frameOf(Buffer.from('early')))],
    ['READY without a socket type', 'handshake', greeted(ready(property('Identity', '')))],
    ['READY that is cut off', 'handshake', greeted(ready(property('Socket-Type', 'REQ').subarray(0, 14)))],
    ['a socket of type PUB', 'socket-type', greeted(ready(property('Socket-Type', 'PUB')))],
    ['an ERROR command', 'peer', greeted(commandOf('ERROR', Buffer.from('\x02no')))],
    ['a command without a name', 'frame', asked(frameOf(Buffer.alloc(0), 'command'))],
    ['a second READY', 'frame', asked(readyOf('REQ'))],
    ['reserved flags', 'frame', asked(Buffer.of(0x80, 0))],
    ['a frame of 2^62 bytes', 'too-large', asked(long(2n ** 62n))],
    ['a frame beyond the limit', 'too-large', asked(long(5000n))],
    ['a message of too many frames', 'too-many-parts', asked(...Array.from({ length: 9 }, () => Buffer.of(1, 0)))],
    ['a message without a delimiter', 'question', asked(frameOf(QUESTION))],
    ['another question', 'question', asked(Buffer.of(1, 0), frameOf(pack(['get_meta_msg', 0, 0])))],
    ['a question of two items', 'question', asked(Buffer.of(1, 0), frameOf(pack([Buffer.from('get_meta_msg'), 0])))],
    ['a question that is no MessagePack', 'question', asked(Buffer.of(1, 0), frameOf(Buffer.of(0xc1)))],
  ])('closes a connection that sends %s, and counts it as %s', async (_what, fault, bytes) => {
    const seen: string[] = [];
    const channel = await channelOf({ onFault: (reason) => seen.push(reason) });
    const peer = await RawPeer.connect(channel.port);
    peer.socket.write(bytes);
    await peer.closed;
    expect(seen).toEqual([fault]);
    expect(channel.statistics().refused).toEqual({ [fault]: 1 });
    expect((await askSideChannel({ host, port: channel.port })).compatibilityHash).toHaveLength(64);
  });

  it('reads a question that arrives byte by byte', async () => {
    const channel = await channelOf();
    const peer = await RawPeer.connect(channel.port);
    const bytes = asked(Buffer.of(1, 0), frameOf(QUESTION));
    for (const byte of bytes) {
      peer.socket.write(Buffer.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await waitFor('an answer', () => channel.statistics().answered);
  });

  it('answers PING with PONG and its context', async () => {
    const channel = await channelOf();
    const peer = await RawPeer.ready(channel.port);
    peer.socket.write(commandOf('PING', Buffer.from('\0\0here')));
    await waitFor('a PONG', () => peer.received.includes(commandOf('PONG', Buffer.from('here'))));
  });

  it('closes a connection without a complete question in time', async () => {
    const channel = await channelOf({ timeoutMs: 30 });
    const peer = await RawPeer.connect(channel.port);
    peer.socket.write(GREETING.subarray(0, 20));
    await peer.closed;
    expect(channel.statistics().refused).toEqual({ timeout: 1 });
  });

  it('closes connections beyond maxConnections', async () => {
    const channel = await channelOf({ maxConnections: 1 });
    const first = await RawPeer.ready(channel.port);
    await waitFor('the first connection', () => first.received.length > 0);
    const second = await RawPeer.connect(channel.port);
    await second.closed;
    expect(channel.statistics().refused).toEqual({ busy: 1 });
    first.send([], QUESTION);
    await waitFor('an answer', () => channel.statistics().answered);
  });

  it('rejects a port that is in use with vllm.unreachable', async () => {
    const { port } = await channelOf();
    await expect(SideChannel.listen(() => handshakeOf(), { port })).rejects.toMatchObject({
      reason: 'vllm.unreachable',
      message: expect.stringContaining(`127.0.0.1:${port}`),
    });
  });

  it('closes its connections, and closes twice', async () => {
    const channel = await channelOf();
    const { port } = channel;
    const peer = await RawPeer.ready(port);
    await waitFor('the connection', () => peer.received.length > 0);
    await Promise.all([channel.close(), channel.close()]);
    await peer.closed;
    await expect(askSideChannel({ host, port, timeoutMs: 1000 })).rejects.toMatchObject({
      reason: 'vllm.unreachable',
    });
  });
});

describe('askSideChannel', () => {
  const handshake = encodeHandshake(handshakeOf());
  const delimiter = Buffer.alloc(0);
  const clock = pack(1.5);

  it.each<[string, Uint8Array[]]>([
    ['one frame', [delimiter, handshake]],
    ['no delimiter', [handshake, clock]],
    ['a clock that is text', [delimiter, handshake, pack('now')]],
    ['a clock that is no MessagePack', [delimiter, handshake, Buffer.of(0xc1)]],
    ['a payload that is no map', [delimiter, pack(7), clock]],
    ['no metadata', [delimiter, pack({ compatibility_hash: 'a' }), clock]],
  ])('rejects an answer with %s with vllm.protocol', async (_what, parts) => {
    const port = await routerOf(...parts);
    await expect(askSideChannel({ host, port })).rejects.toMatchObject({ reason: 'vllm.protocol' });
  });

  it('rejects an answer longer than maxBytes with vllm.protocol', async () => {
    const port = await routerOf(delimiter, Buffer.alloc(5000), clock);
    await expect(askSideChannel({ host, port, maxBytes: 1024 })).rejects.toMatchObject({ reason: 'vllm.protocol' });
  });

  it('rejects a server of another protocol with vllm.protocol', async () => {
    const port = await serverOf(() => Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'));
    await expect(askSideChannel({ host, port })).rejects.toMatchObject({ reason: 'vllm.protocol' });
  });

  it('rejects a server that does not answer with vllm.unreachable after timeoutMs', async () => {
    const port = await serverOf(() => undefined);
    const failure = { reason: 'vllm.unreachable', class: 'Unavailable', message: expect.stringContaining('30 ms') };
    await expect(askSideChannel({ host, port, timeoutMs: 30 })).rejects.toMatchObject(failure);
  });

  it('rejects with the reason of its signal', async () => {
    const port = await serverOf(() => undefined);
    const abort = new AbortController();
    const answer = askSideChannel({ host, port, signal: abort.signal });
    abort.abort(new Error('enough'));
    await expect(answer).rejects.toThrow('enough');
    await expect(askSideChannel({ host, port, signal: abort.signal })).rejects.toThrow('enough');
  });

  it('rejects wrong options with TypeError and RangeError', async () => {
    await expect(askSideChannel({ host } as never)).rejects.toThrow(/options.port: expected/);
    await expect(askSideChannel({ host, port: 70000 })).rejects.toThrow(RangeError);
    await expect(askSideChannel({ host, port: 1, rank: { tensor: -1 } })).rejects.toThrow(/rank.tensor/);
  });
});
