import { connect } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { markAsUntransferable } from 'node:worker_threads';
import { type MemoryRegion, NixlAgent, type RemoteMemory } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';

import { freePort } from '../runtime/cluster.js';
import { describeUnless } from '../skipping.js';
import { waitFor } from '../wait.js';
import { agentOf, type Kind, libraryOf, pairOf, pattern, sameBytes, viewOf } from './library.js';
import { resources } from './process-resources.js';

const DETACHED = { reason: 'nixl.detached', class: 'InvalidRequest' };

/** Takes a buffer away as a read into it does. Returns its new owner. */
async function takeAway(bytes: Uint8Array): Promise<Uint8Array> {
  const stream = new ReadableStream({
    type: 'bytes',
    pull(controller) {
      controller.byobRequest?.respond(1);
    },
  });
  const reader = stream.getReader({ mode: 'byob' });
  const { value } = await reader.read(bytes);
  return value as Uint8Array;
}

/** Newer versions of Node.js detach no buffer that must not be transferred. */
const refused = await (async () => {
  const bytes = new Uint8Array(8);
  markAsUntransferable(bytes.buffer);
  return takeAway(bytes).then(
    () => undefined,
    (error: Error) => `this version of Node.js refuses it: ${error.message}`,
  );
})();

async function borrowed(bytes: number): Promise<Uint8Array> {
  await turn();
  return new Uint8Array(new ArrayBuffer(bytes)).fill(7);
}

/** What holds against the program itself, its other parts, and peers. */
export function describeBoundaries(kind: Kind): void {
  const detaches = refused === undefined ? 'this version of Node.js lets a read detach it' : undefined;
  describeUnless(detaches, 'a registered buffer that a read may not detach', () => {
    it('keeps its bytes and can be used', async () => {
      const { a, remote, theirs } = await pairOf(kind, 8192);
      const bytes = await borrowed(4096);
      const region = await a.register(bytes);
      await expect(takeAway(bytes)).rejects.toThrow(TypeError);
      await a.write(region, remote.slice(0, 4096));
      expect(viewOf(theirs)[4095]).toBe(7);
      await region.release();
      expect(bytes).toEqual(new Uint8Array(4096).fill(7));
    });
  });

  describeUnless(refused, 'a registered buffer that is detached', () => {
    it('fails each use with nixl.detached, which names the region', async () => {
      const { a, remote, theirs } = await pairOf(kind, 8192);
      const uses: [string, (region: MemoryRegion) => Promise<unknown>][] = [
        ['agent.write', async (region) => a.write(region, remote.slice(0, 4096))],
        ['agent.read', async (region) => a.read([region.slice(0, 10)], [remote.slice(0, 10)])],
        ['agent.prepare', (region) => a.prepare('READ', region, remote.slice(0, 4096))],
        ['agent.blocks', (region) => a.blocks(region, 1024)],
        ['agent.metadata', (region) => a.metadata({ regions: [region] })],
        ['region.upload', (region) => region.upload(Uint8Array.of(1))],
        ['region.download', (region) => region.download()],
        ['region.token', async (region) => region.token()],
      ];
      for (const [name, use] of uses) {
        const bytes = await borrowed(4096);
        const region = await a.register(bytes);
        await takeAway(bytes);
        const failure = expect(use(region), name).rejects;
        await failure.toMatchObject({ ...DETACHED, message: expect.stringContaining(name) });
        await expect(use(region), name).rejects.toThrow(
          new RegExp(`region of 4096 bytes at 0x${region.address.toString(16)} was detached`),
        );
        expect(region.isOpen).toBe(false);
        await region.release();
      }
      expect(viewOf(theirs).every((byte) => byte === 0)).toBe(true);
    });

    it('fails the posts of transfers and lists that were made before', async () => {
      const { a, mine, remote } = await pairOf(kind, 8192);
      const bytes = await borrowed(4096);
      const region = await a.register(bytes);
      const prepared = await a.prepare('READ', region, remote.slice(0, 4096));
      const [local, other] = [await a.blocks(region, 1024), await a.blocks(remote, 1024)];
      const ofBlocks = await a.prepareBlocks('READ', local, Int32Array.of(0), other, Int32Array.of(0));
      await prepared.post();
      const owner = await takeAway(bytes);
      expect(owner.byteLength).toBe(1);
      await expect(prepared.post()).rejects.toMatchObject(DETACHED);
      await expect(ofBlocks.post()).rejects.toMatchObject(DETACHED);
      await expect(a.transferBlocks('READ', local, Int32Array.of(0), other, Int32Array.of(0))).rejects.toMatchObject(
        DETACHED,
      );
      await a.write(mine, remote);
    });

    it('is deregistered when it is noticed', async () => {
      const { a, b, mine } = await pairOf(kind, 4096);
      const bytes = await borrowed(4096);
      const region = await b.register(bytes);
      const descriptor = region.descriptor();
      const owner = await takeAway(bytes);
      const part = await b.metadata();
      await expect(region.download()).rejects.toMatchObject(DETACHED);
      await region.release();
      const remote = (await a.connect(part)).memory(descriptor);
      await expect(a.write(mine, remote)).rejects.toMatchObject({ reason: 'nixl.range' });
      expect([...new Uint8Array(owner.buffer)].every((byte) => byte === 7)).toBe(true);
    });

    it('keeps its bytes until then: what the new owner gives back is not reused', async () => {
      const { a, b, mine } = await pairOf(kind, 1 << 20);
      const count = (): number => (resources(), process.memoryUsage().arrayBuffers);
      const before = count();
      const bytes = 64 << 20;
      const leave = async (): Promise<[MemoryRegion, RemoteMemory]> => {
        const buffer = await borrowed(bytes);
        const region = await b.register(buffer);
        const peer = await a.connect(await b.metadata());
        await takeAway(buffer);
        return [region, peer.memory(region.descriptor())];
      };
      const [region, remote] = await leave();
      for (let round = 0; round < 10; round++) count(), await turn();
      expect(count() - before).toBeGreaterThan(bytes / 2);
      // A peer that has the metadata still reaches the bytes, and nothing else.
      await a.write(mine, remote.slice(0, 1 << 20));
      await expect(region.download(0, 10)).rejects.toMatchObject(DETACHED);
      await region.release();
      await waitFor(
        'the end of the buffer',
        () => count() - before,
        (more) => more < bytes / 2,
      );
      expect(remote.bytes).toBe(bytes);
    });

    it('can be released, and a buffer that was released before can be transferred', async () => {
      const { a, remote } = await pairOf(kind, 4096);
      const [first, second] = [await borrowed(4096), await borrowed(4096)];
      const [one, two] = await a.registerMany([first, second]);
      await takeAway(first);
      await one!.release();
      await two!.release();
      await takeAway(second);
      await expect(a.write(two!, remote)).rejects.toMatchObject({ reason: 'nixl.region_released' });
    });
  });

  describe('memory that is registered more than once', () => {
    it('has one registration, which ends with the last region', async () => {
      const { a, b, mine, peer } = await pairOf(kind, 4096);
      const bytes = await borrowed(4096);
      const regions = [await b.register(bytes), await b.register(bytes), ...(await b.registerMany([bytes, bytes]))];
      expect(new Set(regions.map(({ id }) => id)).size).toBe(4);
      await a.connect(await b.metadata());
      pattern(viewOf(mine), 3);
      for (const region of regions) {
        await a.write(mine, peer.memory(region.descriptor()));
        await b.read(region.slice(0, 10), region.slice(10, 10));
        await region.release();
      }
      expect(sameBytes(bytes.subarray(20), viewOf(mine).subarray(20))).toBe(true);
      const [again, same] = [await b.register(bytes), await b.register(bytes)];
      expect(await b.metadata({ regions: [again, same] })).toBeInstanceOf(Uint8Array);
      expect(await b.close()).toEqual({ leaked: false });
    });

    it.each<[string, (bytes: Uint8Array) => Uint8Array]>([
      ['begins inside', (bytes) => bytes.subarray(1000)],
      ['ends inside', (bytes) => bytes.subarray(0, 5000)],
      ['lies inside', (bytes) => bytes.subarray(2000, 3000)],
      ['contains', (bytes) => bytes],
    ])('is refused if it %s another registration', async (what, part) => {
      const agent = await agentOf(kind);
      const bytes = await borrowed(8192);
      const first = await agent.register(what === 'contains' ? bytes.subarray(1000, 2000) : bytes.subarray(500, 7000));
      await expect(agent.register(part(bytes))).rejects.toMatchObject({
        reason: 'nixl.overlap',
        class: 'Conflict',
        message: expect.stringContaining(`overlap a registration of ${first.bytes} bytes of DRAM at 0x`),
      });
      await expect(agent.registerMany([new Uint8Array(10), part(bytes)])).rejects.toMatchObject({
        reason: 'nixl.overlap',
      });
      await first.release();
      const last = await agent.register(part(bytes));
      expect(last.isOpen).toBe(true);
      expect(await agent.close()).toEqual({ leaked: false });
    });

    it('is refused if two files have one number', async (context) => {
      const { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } = await import('node:fs');
      const { tmpdir } = await import('node:os');
      const { join } = await import('node:path');
      const folder = mkdtempSync(join(tmpdir(), 'dynamo-nixl-'));
      context.onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
      writeFileSync(join(folder, 'open'), 'mine');
      const fd = openSync(join(folder, 'open'), 'r+');
      context.onTestFinished(() => closeSync(fd));
      const agent = await agentOf(kind, 'files', { backends: { UCX: {}, POSIX: {} } });
      const file = await agent.register({ fd, bytes: 4096 });
      await expect(agent.register({ fd, bytes: 8192 })).rejects.toMatchObject({ reason: 'nixl.overlap' });
      const same = await agent.register({ fd, bytes: 4096 });
      await file.release();
      const other = { address: 0n, bytes: 4, memory: 'FILE', device: fd, meta: 'somewhere' } as never;
      await expect(agent.register(other)).rejects.toThrow(/source.memory: a file is registered as \{ path, bytes \}/);
      expect(readFileSync(join(folder, 'open'), 'utf8')).toBe('mine');
      expect(same.isOpen).toBe(true);
      expect(await agent.close()).toEqual({ leaked: false });
    });
  });

  describe('the name of an agent', () => {
    it.each(['', 'a\0b', 'a\nb', '\x7f', '\t', '\ud800'])('is refused if it is %j', async (name) => {
      const library = libraryOf(kind);
      await expect(NixlAgent.create(name, { library })).rejects.toBeInstanceOf(RangeError);
      const agent = await agentOf(kind);
      await expect(agent.accept(name, { timeoutMs: 1000 })).rejects.toBeInstanceOf(RangeError);
      await expect(agent.fetch(name, { host: '127.0.0.1' })).rejects.toThrow(/name: expected a name without control/);
    });

    it('in metadata is refused if it has control characters', async () => {
      const { a, b } = await pairOf(kind, 4096);
      const metadata = Buffer.from(await b.metadata());
      const unsealed = metadata.subarray(0, metadata.length - '|dynamo-node/1|'.length - 8);
      const place = unsealed.indexOf(b.name);
      unsealed[place + 1] = 0;
      await expect(a.connect(unsealed)).rejects.toMatchObject({ reason: 'nixl.metadata' });
    });
  });

  describe('the address of a peer', () => {
    it.each(['localhost', 'node-7', '', '::1', '10.0.0', '10.0.0.256'])('is refused if it is %j', async (host) => {
      const agent = await agentOf(kind);
      for (const call of [
        () => agent.fetch('x', { host }, { timeoutMs: 1000 }),
        () => agent.sendMetadata({ host }),
        () => agent.withdrawMetadata({ host }),
      ])
        await expect(call()).rejects.toThrow(/address.host: expected an IPv4 address such as 10.0.0.7/);
    });
  });

  if (kind !== 'mock') return;

  describe('the listener of the mock', () => {
    it('serves peers in spite of silent connections', async () => {
      const port = await freePort();
      const b = await agentOf(kind, 'listens', { listenPort: port });
      const silent = await Promise.all(
        ['', 's', 'f'].map(async (text) => {
          const socket = connect(port, '127.0.0.1').on('error', () => {});
          onTestFinished(() => void socket.destroy());
          await new Promise((resolve) => socket.once('connect', resolve));
          socket.write(text);
          return socket;
        }),
      );
      const a = await agentOf(kind, 'asks', { listenPort: await freePort() });
      // The listener ends a silent connection after 5 s.
      const peer = await a.fetch(b.name, { host: '127.0.0.1', port }, { timeoutMs: 4000 });
      expect(peer.name).toBe(b.name);
      expect(silent.every((socket) => !socket.destroyed && !socket.readableEnded)).toBe(true);
      expect(await b.close()).toEqual({ leaked: false });
    });
  });
}
