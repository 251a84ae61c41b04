import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { ClosedError, NixlError, type TransferResult } from 'dynamo-node';
import { describe, expect, it, onTestFinished, vi } from 'vitest';

import { native } from '../../../lib/addon/invoke.js';
import { agentOf, type Kind, pairOf, pattern, sameBytes, viewOf } from './library.js';

/** The kernel's description of the memory at an address of this process. */
function flagsAt(address: bigint): string[] {
  const mappings = readFileSync('/proc/self/smaps', 'utf8').matchAll(
    /^([0-9a-f]+)-([0-9a-f]+) [\s\S]*?^VmFlags: (.*)$/gm,
  );
  for (const [, from, to, flags] of mappings)
    if (address >= BigInt(`0x${from}`) && address < BigInt(`0x${to}`)) return (flags as string).trim().split(' ');
  throw new Error(`no mapping holds 0x${address.toString(16)}`);
}

/** Spies on the functions that post on this thread, and asks whether a write of each kind was posted so. */
function spyOnPosts() {
  const [once, prepared] = [vi.spyOn(native, 'nixlTransferRun'), vi.spyOn(native, 'nixlTransferPostInline')];
  onTestFinished(() => void vi.restoreAllMocks());
  return {
    calls: () => [once.mock.calls.length, prepared.mock.calls.length],
    once: () => once.mock.results.some(({ value }) => value !== undefined),
    prepared: () => prepared.mock.results.some(({ value }) => !(value instanceof Uint8Array)),
  };
}

/** Writes until a write was posted on this thread. Those after one that took long are left to the agent's thread. */
async function untilPosted(isPosted: () => boolean, write: () => Promise<void>): Promise<void> {
  for (let tries = 0; tries < 200 && !isPosted(); tries++) {
    // Each turn of the event loop has time for posts on its thread.
    await nextTurn();
    await write();
  }
  expect(isPosted()).toBe(true);
}

const SIZES = [1, 64, 4096, 65536, 65537, 1 << 20, (8 << 20) + 3, 40 << 20];

export function describeTransfers(kind: Kind): void {
  describe('a transfer', () => {
    it.each(SIZES)('moves %i bytes in both directions', async (bytes) => {
      const { a, mine, theirs, remote } = await pairOf(kind, bytes);
      pattern(viewOf(mine), 1);
      const written = await a.write(mine, remote);
      expect(written.bytes).toBe(bytes);
      expect(written.durationMs).toBeGreaterThan(0);
      expect(sameBytes(viewOf(theirs), viewOf(mine))).toBe(true);
      pattern(viewOf(theirs), 2);
      viewOf(theirs)[0] = 99;
      await a.read(mine, remote);
      expect(sameBytes(viewOf(mine), viewOf(theirs))).toBe(true);
    });

    it('that is small runs on the JavaScript thread, unless inline is false', async () => {
      const { a, mine, theirs, remote } = await pairOf(kind, 4096);
      const posts = spyOnPosts();
      await using prepared = await a.prepare('WRITE', mine, remote);
      let round = 0;
      const check = async (write: () => Promise<TransferResult>): Promise<void> => {
        pattern(viewOf(mine), ++round);
        viewOf(theirs).fill(255);
        expect((await write()).bytes).toBe(4096);
        expect(sameBytes(viewOf(theirs), viewOf(mine))).toBe(true);
      };
      for (const [isPosted, write] of [
        [posts.once, () => check(() => a.write(mine, remote))],
        [posts.prepared, () => check(() => prepared.post())],
      ] as const) {
        // On a busy machine, a post over TCP may never be a short one.
        if (kind !== 'tcp') await untilPosted(isPosted, write);
        else for (let count = 0; count < 10; count++) await write();
      }
      const calls = posts.calls();
      for (const write of [() => a.write(mine, remote, { inline: false }), () => prepared.post({ inline: false })]) {
        await nextTurn();
        await check(write);
      }
      expect(posts.calls()).toEqual(calls);
    });

    it('with a message may run on the JavaScript thread too, and the message arrives after the bytes', async () => {
      const { a, b, mine, theirs, remote } = await pairOf(kind, 4096);
      const posts = spyOnPosts();
      await using prepared = await a.prepare('WRITE', mine, remote);
      const messages = b.notifications();
      let round = 0;
      const check = async (notify: string, write: () => Promise<unknown>): Promise<void> => {
        pattern(viewOf(mine), ++round);
        await write();
        const { value } = await messages.next();
        expect(Buffer.from(value?.data ?? '').toString()).toBe(notify);
        expect(sameBytes(viewOf(theirs), viewOf(mine))).toBe(true);
      };
      const writes = [
        [posts.once, () => check('once', () => a.write(mine, remote, { notify: 'once' }))],
        [posts.prepared, () => check('prepared', () => prepared.post({ notify: 'prepared' }))],
      ] as const;
      for (const [isPosted, write] of writes) {
        // A real message may take longer to send than the JavaScript thread waits.
        if (kind === 'mock') await untilPosted(isPosted, write);
        else for (let count = 0; count < 10; count++) await write();
      }
      await messages.return();
    });

    it('that is large is left to the thread of the agent', async () => {
      const bytes = 9 << 20;
      const { a, mine, theirs, remote } = await pairOf(kind, bytes);
      await a.write(mine, remote);
      const once = vi.spyOn(native, 'nixlTransferRun');
      onTestFinished(() => void vi.restoreAllMocks());
      pattern(viewOf(mine), 1);
      await a.write(mine, remote);
      expect(sameBytes(viewOf(theirs), viewOf(mine))).toBe(true);
      expect(once).not.toHaveBeenCalled();
    });

    it('does not keep the event loop from turning, however many are posted', async () => {
      const { a, mine, remote } = await pairOf(kind, 65_536);
      await a.write(mine, remote);
      await using prepared = await a.prepare('WRITE', mine, remote);
      let turns = 0;
      const turn = (): void => {
        turns += 1;
        timer = setImmediate(turn);
      };
      let timer = setImmediate(turn);
      onTestFinished(() => clearImmediate(timer));
      const begin = performance.now();
      while (turns === 0 && performance.now() - begin < 30_000) await prepared.post();
      expect(turns).toBeGreaterThan(0);
    });

    it('moves lists of runs, and no other bytes', async () => {
      const { a, mine, theirs, remote } = await pairOf(kind, 1 << 20);
      pattern(viewOf(mine), 3);
      const places = Array.from(
        { length: 300 },
        (_, index) => [index * 3000, (299 - index) * 3001, 100 + index] as const,
      );
      const { bytes } = await a.write(
        places.map(([from, , size]) => mine.slice(from, size)),
        places.map(([, to, size]) => remote.slice(to, size)),
      );
      expect(bytes).toBe(places.reduce((sum, [, , size]) => sum + size, 0));
      const expected = new Uint8Array(1 << 20);
      for (const [from, to, size] of places) expected.set(viewOf(mine).subarray(from, from + size), to);
      expect(sameBytes(viewOf(theirs), expected)).toBe(true);
    });

    it('runs concurrently with others, small and large', async () => {
      const { a, mine, theirs, remote } = await pairOf(kind, 32 << 20);
      pattern(viewOf(mine), 4);
      const part = 64 * 1024;
      const big = a.write(mine.slice(16 << 20), remote.slice(16 << 20));
      const small = Array.from({ length: 200 }, (_, index) =>
        a.write(mine.slice(index * part, part), remote.slice(index * part, part)),
      );
      await Promise.all([big, ...small]);
      expect(sameBytes(viewOf(theirs).subarray(0, 200 * part), viewOf(mine).subarray(0, 200 * part))).toBe(true);
      expect(sameBytes(viewOf(theirs).subarray(16 << 20), viewOf(mine).subarray(16 << 20))).toBe(true);
    });

    it('that is small, and a message, do not wait for a large one', async () => {
      const { a, mine, peer, remote } = await pairOf(kind, 64 << 20);
      await a.write(mine.slice(0, 4096), remote.slice(0, 4096));
      let order: string[] = [];
      // If this process is delayed, it sees all completions at once.
      for (let tries = 0; tries < 5 && order.at(-1) !== 'big'; tries++) {
        order = [];
        const big = a.write(mine, remote).then(() => order.push('big'));
        const small = a.read(mine.slice(0, 100_000), remote.slice(0, 100_000)).then(() => order.push('small'));
        const message = peer.notify('hello').then(() => order.push('message'));
        await Promise.all([big, small, message]);
      }
      expect(order.at(-1)).toBe('big');
    });

    it('moves bytes within one agent', async () => {
      const agent = await agentOf(kind);
      const [from, to] = [await agent.allocate(100_000), await agent.allocate(100_000)];
      pattern(viewOf(from), 5);
      await agent.write(from.slice(0, 50_000), to.slice(50_000, 50_000));
      expect(sameBytes(viewOf(to).subarray(50_000), viewOf(from).subarray(0, 50_000))).toBe(true);
    });

    it('that is prepared can be posted many times', async () => {
      const { a, mine, theirs, remote } = await pairOf(kind, 20 << 20);
      for (const bytes of [4096, 20 << 20]) {
        await using prepared = await a.prepare('WRITE', mine.slice(0, bytes), remote.slice(0, bytes));
        expect(prepared.bytes).toBe(bytes);
        for (let round = 0; round < 5; round++) {
          pattern(viewOf(mine), 10 + round);
          expect((await prepared.post()).bytes).toBe(bytes);
          expect(sameBytes(viewOf(theirs).subarray(0, bytes), viewOf(mine).subarray(0, bytes))).toBe(true);
        }
      }
    });

    it('has an estimate for the bytes of all its pieces, before it has run', async () => {
      const { a, mine, remote } = await pairOf(kind, 64 << 20);
      const durations: number[] = [];
      for (const bytes of [4096, 1 << 20, 8 << 20, 64 << 20]) {
        await using prepared = await a.prepare('READ', mine.slice(0, bytes), remote.slice(0, bytes));
        const { durationUs, marginUs } = await prepared.estimate();
        expect(marginUs).toBeGreaterThanOrEqual(0);
        durations.push(durationUs);
      }
      const [least, small, piece, whole] = durations as [number, number, number, number];
      expect([small > least, piece > small]).toEqual([true, true]);
      expect(whole / piece).toBeGreaterThan(7.9);
      expect(whole / piece).toBeLessThan(8.1);
      // From 10 MB/s to 10 TB/s.
      expect(Math.abs(Math.log10((8 << 20) / piece) - 4)).toBeLessThan(3);
    });

    it('has no estimate after its release, or if its backend has no estimates', async (context) => {
      const agent = await agentOf(kind, 'files', { backends: { UCX: {}, POSIX: {} } });
      const folder = mkdtempSync(join(tmpdir(), 'dynamo-nixl-'));
      context.onTestFinished(() => rmSync(folder, { recursive: true }));
      const [memory, file] = [
        await agent.allocate(4096),
        await agent.register({ path: join(folder, 'blocks'), bytes: 4096, access: 'write', create: true }),
      ];
      const prepared = await agent.prepare('WRITE', memory, file);
      await expect(prepared.estimate()).rejects.toMatchObject({ reason: 'nixl.backend', call: 'estimate_xfer_cost' });
      await prepared.release();
      await expect(prepared.estimate()).rejects.toBeInstanceOf(ClosedError);
    });

    it('has telemetry with an agent that measures, but only after a run', async () => {
      const { a, mine, remote } = await pairOf(kind, 1 << 20, { telemetry: true });
      await using prepared = await a.prepare('WRITE', mine, remote);
      await expect(prepared.telemetry()).rejects.toMatchObject({ reason: 'nixl.no_telemetry' });
      await prepared.post();
      const telemetry = await prepared.telemetry();
      expect(telemetry).toMatchObject({ bytes: 1 << 20, descriptors: 1 });
      expect(telemetry.transferUs).toBeGreaterThanOrEqual(telemetry.postUs);
    });

    it('has the telemetry of all its pieces', async () => {
      const { a, mine, remote } = await pairOf(kind, 20 << 20, { telemetry: true });
      await using prepared = await a.prepare('READ', mine, remote);
      const { durationMs } = await prepared.post();
      const telemetry = await prepared.telemetry();
      expect(telemetry).toMatchObject({ bytes: 20 << 20, descriptors: 3 });
      // Over TCP they are in flight together: the sum of their times is nearly three times that of the transfer.
      expect(telemetry.transferUs / 1000).toBeLessThan(1.5 * durationMs);
      expect(telemetry.transferUs).toBeGreaterThan(0);
    });

    it('has no telemetry with an agent that does not measure', async () => {
      const { a, mine, remote } = await pairOf(kind);
      await using prepared = await a.prepare('WRITE', mine, remote);
      await prepared.post();
      await expect(prepared.telemetry()).rejects.toMatchObject({ reason: 'nixl.no_telemetry', status: -5 });
    });

    it('uses the backend that it names', async () => {
      const { a, mine, remote } = await pairOf(kind);
      await a.write(mine, remote, { backend: 'UCX' });
      await a.write(mine, remote, { backend: 'UCX', customParam: 'worker_id=0' });
      await expect(a.write(mine, remote, { backend: 'POSIX' })).rejects.toMatchObject({ reason: 'nixl.no_backend' });
    });

    it('uses the UCX worker of its custom parameter', async () => {
      const { a, mine, theirs, remote } = await pairOf(kind, 1 << 20, { backends: { UCX: { num_workers: '2' } } });
      for (const worker of [0, 1]) {
        pattern(viewOf(mine), worker);
        await a.write(mine, remote, { customParam: `worker_id=${worker}` });
        expect(sameBytes(viewOf(theirs), viewOf(mine))).toBe(true);
      }
    });
  });

  describe('blocks', () => {
    it('move by index, thousands in one call', async () => {
      const [count, block] = [4000, 1024];
      const { a, mine, theirs, remote } = await pairOf(kind, count * block);
      pattern(viewOf(mine), 6);
      await using local = await a.blocks(mine, block);
      await using other = await a.blocks(remote, block);
      expect([local.length, other.length]).toEqual([count, count]);
      const from = Int32Array.from({ length: count }, (_, index) => index);
      const to = Int32Array.from(from, (index) => (index * 1237) % count);
      expect((await a.transferBlocks('WRITE', local, from, other, to)).bytes).toBe(count * block);
      for (const [index, place] of to.entries()) {
        const left = viewOf(theirs).subarray(place * block, (place + 1) * block);
        if (!sameBytes(left, viewOf(mine).subarray(index * block, (index + 1) * block)))
          expect.fail(`block ${index} is not at ${place}`);
      }
      await using prepared = await a.prepareBlocks('READ', local, from.slice(0, 10), other, to.slice(10, 20));
      pattern(viewOf(theirs), 7);
      await prepared.post();
      expect(
        sameBytes(
          viewOf(mine).subarray(0, block),
          viewOf(theirs).subarray((to[10] as number) * block, ((to[10] as number) + 1) * block),
        ),
      ).toBe(true);
    });

    it('can lie apart: each is moved without the bytes between them', async () => {
      const [blocks, heads, headBytes] = [8, 4, 512];
      const [stride, bytes] = [heads * headBytes, 2 * blocks * heads * headBytes];
      const { a, mine, theirs, remote } = await pairOf(kind, bytes);
      pattern(viewOf(theirs), 3);
      const halves = [remote.slice(0, bytes / 2), remote.slice(bytes / 2)];
      for (let head = 0; head < heads; head++) {
        viewOf(mine).fill(0);
        await using dense = await a.blocks(mine.slice(0, 2 * blocks * headBytes), headBytes);
        await using apart = await a.blocks(halves, { blockBytes: headBytes, stride, offset: head * headBytes });
        expect([dense.length, apart.length]).toEqual([2 * blocks, 2 * blocks]);
        const all = Int32Array.from({ length: 2 * blocks }, (_, index) => index);
        expect(await a.transferBlocks('READ', dense, all, apart, all)).toMatchObject({ bytes: 2 * blocks * headBytes });
        for (const block of all) {
          const from = block * stride + head * headBytes;
          const expected = viewOf(theirs).subarray(from, from + headBytes);
          expect(sameBytes(viewOf(mine).subarray(block * headBytes, (block + 1) * headBytes), expected)).toBe(true);
        }
      }
      const last = await a.blocks(mine.slice(0, 3 * stride + headBytes), { blockBytes: headBytes, stride });
      expect(last.length).toBe(4);
      const tail = await a.blocks(mine.slice(0, 1000), { offset: 200 });
      expect(tail.length).toBe(1);
    });

    it('rejects a cut that has no whole block, overlaps or is not a number, with its field', async () => {
      const { a, mine } = await pairOf(kind, 4096);
      const refused = (options: object): Promise<unknown> => a.blocks(mine, options).then(() => 'it took it', String);
      expect(
        await Promise.all([
          refused({ blockBytes: 512, stride: 500 }),
          refused({ stride: 512 }),
          refused({ blockBytes: 512, offset: 4000 }),
          refused({ blockBytes: 512, offset: 100 }),
          refused({ offset: 4096 }),
          refused({ blockBytes: 0 }),
          refused({ blockBytes: 512, strideBytes: 512 }),
        ]),
      ).toEqual([
        'RangeError: agent.blocks options.stride: expected an integer from 512 to 9007199254740991, got 500',
        'TypeError: agent.blocks options.blockBytes: expected the bytes of each block with a stride, got undefined',
        'RangeError: agent.blocks memory[0]: expected at least 4512 bytes, for one block, got 4096',
        'RangeError: agent.blocks memory[0]: expected a multiple of 512 bytes after 100, got 3996',
        'RangeError: agent.blocks memory[0]: expected at least 4097 bytes, for one block, got 4096',
        'RangeError: agent.blocks options.blockBytes: expected an integer from 1 to 4294967295, got 0',
        'TypeError: agent.blocks options.strideBytes: unknown option; known are blockBytes, stride, offset, signal, ' +
          'timeoutMs',
      ]);
    });

    it('are checked before the library sees them', async () => {
      const { a, mine, remote } = await pairOf(kind, 64 * 1024);
      const [local, other] = [await a.blocks(mine, 4096), await a.blocks(remote.slice(0, 32 * 1024), 4096)];
      const one = Int32Array.of(0);
      await expect(a.transferBlocks('READ', local, Int32Array.of(16), other, one)).rejects.toThrow(
        /localIndices\[0\]: expected an index below 16, got 16/,
      );
      await expect(a.transferBlocks('READ', local, one, other, Int32Array.of(8))).rejects.toThrow(
        /remoteIndices\[0\]: expected an index below 8, got 8/,
      );
      await expect(a.transferBlocks('READ', local, Int32Array.of(-1), other, one)).rejects.toBeInstanceOf(TypeError);
      await expect(a.transferBlocks('READ', local, Int32Array.of(0, 1), other, one)).rejects.toBeInstanceOf(RangeError);
      await expect(a.transferBlocks('READ', local, new Int32Array(), other, new Int32Array())).rejects.toBeInstanceOf(
        RangeError,
      );
      await expect(a.transferBlocks('READ', other, one, local, one)).rejects.toThrow(
        /local: expected blocks of this agent/,
      );
      await expect(a.blocks(mine, 3000)).rejects.toThrow(/expected a multiple of 3000 bytes, got 65536/);
      const bigger = await a.blocks(remote, 8192);
      await expect(a.transferBlocks('READ', local, one, bigger, one)).rejects.toThrow(
        /expected the same size on both sides, got 4096 and 8192/,
      );
      await expect(
        a.blocks([remote, remote.peer.memory({ address: 0x1000n, bytes: 4096 })], 4096),
      ).rejects.toMatchObject({
        reason: 'nixl.range',
      });
    });

    it('end with their list, region or peer', async () => {
      const { a, b, mine, theirs, peer, remote } = await pairOf(kind, 64 * 1024);
      const one = Int32Array.of(0);
      const [local, other] = [await a.blocks(mine, 4096), await a.blocks(remote, 4096)];
      const prepared = await a.prepareBlocks('READ', local, one, other, one);
      await prepared.post();
      await mine.release();
      await expect(prepared.post()).rejects.toMatchObject({ reason: 'nixl.region_released' });
      await expect(a.transferBlocks('READ', local, one, other, one)).rejects.toMatchObject({
        reason: 'nixl.region_released',
      });
      const fresh = await a.blocks(await a.allocate(4096), 4096);
      await a.transferBlocks('READ', fresh, one, other, one);
      await peer.disconnect();
      await expect(a.transferBlocks('READ', fresh, one, other, one)).rejects.toMatchObject({
        reason: 'nixl.peer_disconnected',
      });
      await other.release();
      await other.release();
      await expect(a.transferBlocks('READ', fresh, one, other, one)).rejects.toMatchObject({ code: 'DYN_CLOSED' });
      expect(theirs.isOpen && b.isOpen).toBe(true);
    });
  });

  describe('memory that is allocated', () => {
    it.each([
      ['from 2 MiB on', 2 << 20, {}, true],
      ['of any size above', (5 << 20) + 1, {}, true],
      ['but not below', (2 << 20) - 1, {}, false],
      ['not with hugePages: false', 4 << 20, { hugePages: false }, false],
    ])('is aligned to huge pages and requests them %s', async (_when, bytes, options, huge) => {
      const agent = await agentOf(kind);
      const region = await agent.allocate(bytes, options);
      expect(viewOf(region).every((byte) => byte === 0)).toBe(true);
      if (huge) expect(region.address % BigInt(2 << 20)).toBe(0n);
      // A kernel without huge pages refuses the request, which has no other effect.
      const asked = [region.address, region.address + BigInt(bytes) - 1n].map((address) =>
        flagsAt(address).includes('hg'),
      );
      expect(asked).toEqual(Array(2).fill(huge && existsSync('/sys/kernel/mm/transparent_hugepage')));
    });
  });

  describe('many regions', () => {
    it('are registered in one list, and can be used and released one by one', async () => {
      const agent = await agentOf(kind);
      const block = 256;
      const memory = new Uint8Array(5000 * block);
      const regions = await agent.registerMany(
        Array.from({ length: 5000 }, (_, index) => memory.subarray(index * block, (index + 1) * block)),
      );
      expect(new Set(regions.map(({ address }) => address)).size).toBe(5000);
      const metadata = await agent.metadata();
      const other = await agentOf(kind);
      const peer = await other.connect(metadata);
      const mine = await other.allocate(block);
      pattern(viewOf(mine), 8);
      for (const index of [0, 2500, 4999]) {
        const region = regions[index] as (typeof regions)[number];
        await other.write(mine, peer.memory(region.descriptor()));
        expect(sameBytes(memory.subarray(index * block, (index + 1) * block), viewOf(mine))).toBe(true);
      }
      await Promise.all(regions.slice(0, 100).map((region) => region.release()));
      await expect(agent.metadata({ regions: regions.slice(0, 1) })).rejects.toBeInstanceOf(NixlError);
    });
  });
}
