import { once } from 'node:events';
import { setImmediate as turn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { attachRegion, ClosedError, type MemoryDescriptor, type MemoryRegion, NixlAgent, NixlError } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';

import { waitFor } from '../wait.js';
import { agentOf, type Kind, libraryOf, pairOf, pattern, sameBytes, uniqueName, viewOf } from './library.js';
import { expectBaseline, resources, threadsNamed } from './process-resources.js';

export function describeLifetime(kind: Kind): void {
  describe('an abort', () => {
    it('before the post rejects with its reason and moves nothing', async () => {
      const { a, mine, theirs, remote } = await pairOf(kind, 4096);
      viewOf(mine).fill(9);
      const signal = AbortSignal.abort(new Error('no'));
      for (const bytes of [100, 4096]) {
        await expect(a.write(mine.slice(0, bytes), remote.slice(0, bytes), { signal })).rejects.toThrow('no');
        await using prepared = await a.prepare('WRITE', mine.slice(0, bytes), remote.slice(0, bytes));
        await expect(prepared.post({ signal })).rejects.toThrow('no');
      }
      expect(viewOf(theirs).every((byte) => byte === 0)).toBe(true);
    });

    it('of a transfer in flight rejects at once, and keeps the memory until its end', async () => {
      const { a, b, mine, remote } = await pairOf(kind, 64 << 20);
      for (let round = 0; round < 5; round++) {
        const controller = new AbortController();
        const writing = a.write(mine, remote, { signal: controller.signal });
        controller.abort(new Error(`round ${round}`));
        await expect(writing).rejects.toThrow(`round ${round}`);
      }
      const released = mine.release();
      expect(viewOf(mine).length).toBe(0);
      await released;
      expect(await a.close()).toEqual({ leaked: false });
      expect(await b.close()).toEqual({ leaked: false });
    });

    it('of a prepared transfer allows another post after the end of the run', async () => {
      const { a, mine, theirs, remote } = await pairOf(kind, 32 << 20);
      const prepared = await a.prepare('WRITE', mine, remote);
      const controller = new AbortController();
      const first = prepared.post({ signal: controller.signal });
      controller.abort(new Error('stop'));
      await expect(first).rejects.toThrow('stop');
      pattern(viewOf(mine), 3);
      for (;;) {
        try {
          await prepared.post();
          break;
        } catch (error) {
          if ((error as NixlError).reason !== 'nixl.active') throw error;
        }
      }
      expect(sameBytes(viewOf(theirs), viewOf(mine))).toBe(true);
      const last = prepared.post();
      const outcome = Promise.allSettled([last, prepared.release()]);
      expect((await outcome)[1].status).toBe('fulfilled');
      await expect(async () => prepared.post()).rejects.toBeInstanceOf(ClosedError);
    });
  });

  describe('a prepared transfer', () => {
    it('rejects a second post in flight without an effect on the first', async () => {
      const { a, mine, theirs, remote } = await pairOf(kind, 64 << 20);
      pattern(viewOf(mine), 4);
      const prepared = await a.prepare('WRITE', mine, remote);
      const [first, second] = await Promise.allSettled([prepared.post(), prepared.post()]);
      expect(first.status).toBe('fulfilled');
      if (second.status === 'rejected') expect(second.reason).toMatchObject({ reason: 'nixl.active' });
      expect(sameBytes(viewOf(theirs), viewOf(mine))).toBe(true);
    });
  });

  describe('a close', () => {
    it('fails calls in flight and every later call', async () => {
      const { a, mine, remote, peer } = await pairOf(kind, 64 << 20);
      const writing = a.write(mine, remote).then(
        () => 'done',
        (error: unknown) => error,
      );
      const closed = a.close();
      const outcome = await writing;
      if (outcome !== 'done') expect(outcome).toBeInstanceOf(ClosedError);
      expect(await closed).toEqual({ leaked: false });
      expect(await a.close()).toEqual({ leaked: false });
      expect([a.isOpen, mine.isOpen, viewOf(mine).length]).toEqual([false, false, 0]);
      for (const call of [
        () => a.metadata(),
        () => a.allocate(10),
        async () => a.write(mine, remote),
        () => a.plugins(),
        () => peer.notify('x'),
        async () => a.notifications(),
      ]) {
        await expect(call()).rejects.toBeInstanceOf(ClosedError);
      }
      await mine.release();
      await peer.disconnect();
    });
  });

  describe('an agent without a close', () => {
    it('is closed with a warning when it is garbage-collected, and frees its buffers', async () => {
      const warnings: Error[] = [];
      const onWarning = (warning: Error): unknown => warnings.push(warning);
      process.on('warning', onWarning);
      onTestFinished(() => void process.off('warning', onWarning));
      const before = resources();
      const leave = async (): Promise<WeakRef<ArrayBuffer>> => {
        const agent = await NixlAgent.create(uniqueName('left'), { library: libraryOf(kind) });
        const buffer = new ArrayBuffer(100_000);
        await agent.registerMany([buffer]);
        return new WeakRef(buffer);
      };
      const buffer = await leave();
      await waitFor(
        'the warning',
        () => (resources(), warnings),
        (all) =>
          all.some(
            ({ name, message }) =>
              name === 'ResourceWarning' && /'left-\d+-\d+' was garbage-collected without close\(\)/.test(message),
          ),
      );
      await waitFor(
        'the end of its threads',
        () => threadsNamed('nixl-left-'),
        ({ length }) => length === 0,
      );
      await waitFor('the end of its buffer', () => (resources(), buffer.deref() === undefined));
      await expectBaseline(before, `${kind}, a garbage-collected agent`);
    });

    it('keeps a buffer as long as it is registered, without other references', async () => {
      const { a, b, mine, theirs } = await pairOf(kind, 8192);
      const leave = async (): Promise<[WeakRef<ArrayBuffer>, MemoryDescriptor]> => {
        const buffer = new ArrayBuffer(8192);
        const [region] = (await b.registerMany([buffer])) as [MemoryRegion];
        return [new WeakRef(buffer), region.descriptor()];
      };
      const [buffer, descriptor] = await leave();
      for (let round = 0; round < 10; round++) resources(), await turn();
      const remote = (await a.connect(await b.metadata())).memory(descriptor);
      pattern(viewOf(mine), 1);
      await a.write(mine, remote);
      expect(sameBytes(new Uint8Array(buffer.deref() as ArrayBuffer), viewOf(mine))).toBe(true);
      expect(theirs.isOpen).toBe(true);
      await b.close();
      await waitFor('the end of the buffer', () => (resources(), buffer.deref() === undefined));
    });
  });

  describe('a worker thread', () => {
    it('attaches a region by its token, and keeps its memory', async () => {
      const agent = await agentOf(kind);
      const region = await agent.allocate(4096);
      pattern(viewOf(region), 1);
      const shared = attachRegion(structuredClone(region.token()));
      expect(sameBytes(shared.view, viewOf(region))).toBe(true);
      shared.view[0] = 42;
      expect(viewOf(region)[0]).toBe(42);
      const copy = Uint8Array.from(shared.view);
      const token = region.token();
      await region.release();
      expect(sameBytes(shared.view, copy)).toBe(true);
      shared.release();
      shared.release();
      expect(shared.view.length).toBe(0);
      expect(() => attachRegion(token)).toThrow(/released/);
      expect(() => attachRegion({ ...token, process: 1 })).toThrow(/expected a token of this process/);
      expect(() => region.token()).toThrow(NixlError);
    });

    it('has separate agents, which end with it', async () => {
      const agent = await agentOf(kind);
      const region = await agent.allocate(4096);
      viewOf(region).fill(5);
      const worker = new Worker(new URL('./programs/worker.mjs', import.meta.url), {
        workerData: { kind, token: region.token(), metadata: await agent.metadata(), descriptor: region.descriptor() },
      });
      const [message] = (await once(worker, 'message')) as [{ seen: number; wrote: number }];
      expect(message).toEqual({ seen: 5, wrote: 4096 });
      expect(viewOf(region)[7]).toBe(7);
      expect(threadsNamed('nixl-worker-')).not.toEqual([]);
      await worker.terminate();
      await waitFor(
        'the end of its agent',
        () => threadsNamed('nixl-worker-'),
        ({ length }) => length === 0,
      );
    });
  });
}
