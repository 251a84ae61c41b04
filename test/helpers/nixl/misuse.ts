import { type MemoryDescriptor, NixlAgent } from 'dynamo-node';
import { describe, expect, it } from 'vitest';

import { agentOf, type Kind, libraryOf, pairOf, pattern, sameBytes, uniqueName, viewOf } from './library.js';

export function describeMisuse(kind: Kind): void {
  describe('memory of the caller', () => {
    it('is used without a copy, and stays while it is registered', async () => {
      const { a, mine, theirs, remote } = await pairOf(kind, 8192);
      const buffer = new ArrayBuffer(8192);
      const region = await a.register(new Uint8Array(buffer, 100, 4096));
      expect(region.bytes).toBe(4096);
      expect(region.view?.buffer).toBe(buffer);
      pattern(new Uint8Array(buffer), 1);
      await a.write(region, remote.slice(0, 4096));
      expect(sameBytes(viewOf(theirs).subarray(0, 4096), new Uint8Array(buffer, 100, 4096))).toBe(true);
      await a.read(region.slice(10, 50), remote.slice(4096, 50));
      expect(new Uint8Array(buffer, 110, 50).every((byte) => byte === 0)).toBe(true);
      try {
        structuredClone(buffer, { transfer: [buffer] });
      } catch (error) {
        expect(error).toMatchObject({ name: 'DataCloneError' });
      }
      expect(buffer.byteLength).toBe(8192);
      await region.release();
      expect(mine.isOpen).toBe(true);
    });

    it('can be registered by its address', async () => {
      const { a, theirs, remote } = await pairOf(kind, 4096);
      const memory = await (await agentOf(kind)).allocate(8192);
      pattern(viewOf(memory), 2);
      const part = await a.register({ address: memory.address + 1000n, bytes: 4096, memory: 'DRAM' });
      expect(part).toMatchObject({ address: memory.address + 1000n, bytes: 4096, memory: 'DRAM', view: null });
      await a.write(part, remote);
      expect(sameBytes(viewOf(theirs), viewOf(memory).subarray(1000, 5096))).toBe(true);
      await part.release();
    });

    it('is rejected if it is shared, resizable, detached or of a wrong type', async () => {
      const agent = await agentOf(kind);
      const detached = new ArrayBuffer(100);
      structuredClone(detached, { transfer: [detached] });
      const resizable = new (ArrayBuffer as unknown as new (bytes: number, options: object) => ArrayBuffer)(100, {
        maxByteLength: 200,
      });
      for (const wrong of [
        new SharedArrayBuffer(100),
        new Uint8Array(new SharedArrayBuffer(100)),
        detached,
        resizable,
        new ArrayBuffer(0),
        'text',
        7,
        null,
        {},
        new Float64Array(4),
      ]) {
        await expect(agent.register(wrong as never), String(wrong)).rejects.toBeInstanceOf(TypeError);
      }
      await expect(agent.register({ address: 2n ** 53n, bytes: 1, memory: 'DRAM' })).rejects.toBeInstanceOf(RangeError);
      await expect(agent.register({ address: 4096n, bytes: 2 ** 53, memory: 'DRAM' })).rejects.toBeInstanceOf(
        RangeError,
      );
      await expect(agent.register({ address: 4096n, bytes: 1, memory: 'RAM' as never })).rejects.toThrow(
        /source.memory: expected one of DRAM/,
      );
      await expect(agent.registerMany([new Uint8Array(1), { fd: 3, bytes: 1 }])).rejects.toThrow(
        /sources\[1\]: expected DRAM as the first, got FILE/,
      );
      await expect(agent.register({ path: '/x', bytes: 1, create: true })).rejects.toThrow(
        /source.access: expected 'write'/,
      );
      for (const bytes of [0, -1, 1.5, 2 ** 53, Number.NaN])
        await expect(agent.allocate(bytes), String(bytes)).rejects.toThrow(/agent.allocate bytes: expected an integer/);
      await expect(agent.allocate(2 ** 52)).rejects.toMatchObject({
        reason: 'nixl.memory',
        class: 'CapacityExhausted',
      });
    });
  });

  describe('ranges', () => {
    it('must lie in one region, on both sides', async () => {
      const { a, b, mine, theirs, peer, remote } = await pairOf(kind, 8192);
      expect(() => mine.slice(8000, 200)).toThrow(RangeError);
      expect(() => mine.slice(-1)).toThrow(RangeError);
      expect(() => mine.slice(2 ** 53)).toThrow(RangeError);
      expect(() => mine.slice(0.5)).toThrow(RangeError);
      expect(() => remote.slice(8192, 1)).toThrow(RangeError);
      expect(() => mine.slice(10).slice(8000, 183)).toThrow(RangeError);
      expect(() => a.write(mine, remote.slice(1))).toThrow(/expected 8192 bytes as on the local side, got 8191/);
      expect(() => a.write(mine.slice(0, 0), remote.slice(0, 0))).toThrow(/expected at least one byte/);
      expect(() => a.write([mine], [remote, remote])).toThrow(/expected 1 runs as on the local side, got 2/);
      expect(() => a.write([], [])).toThrow(RangeError);
      const beyond: MemoryDescriptor = { ...theirs.descriptor(), bytes: 8193 };
      const longer = await a.allocate(8193);
      await expect(a.write(longer, peer.memory(beyond))).rejects.toMatchObject({ reason: 'nixl.range' });
      const neighbours = new Uint8Array(8192);
      const [left, right] = await b.registerMany([neighbours.subarray(0, 4096), neighbours.subarray(4096)]);
      await a.connect(await b.metadata());
      await a.write(mine.slice(0, 4096), peer.memory(left!.descriptor()));
      await a.write(mine.slice(0, 4096), peer.memory(right!.descriptor()));
      const across = peer.memory({ ...left!.descriptor(), bytes: 8192 });
      await expect(a.write(mine, across)).rejects.toMatchObject({ reason: 'nixl.range' });
      await expect(
        a.write(
          [mine.slice(0, 10), mine.slice(10, 10)],
          [remote.slice(0, 10), peer.memory({ ...theirs.descriptor(), device: 3 }).slice(0, 10)],
        ),
      ).rejects.toThrow(/device 3/);
    });

    it('of other agents are rejected with the name of the agent', async () => {
      const { a, b, mine, theirs, remote, peer } = await pairOf(kind, 4096);
      expect(() => a.write(theirs, remote)).toThrow(
        new RegExp(`expected a region of the agent '${a.name}', got one of another agent, '${b.name}'`),
      );
      expect(() => b.write(theirs, remote)).toThrow(/expected a peer of the agent/);
      expect(() => a.write(mine, theirs)).toThrow(/expected a region of the agent/);
      expect(() => a.write({} as never, remote)).toThrow(TypeError);
      expect(() => a.write(mine, {} as never)).toThrow(/expected memory of a peer/);
      expect(() => peer.memory({ ...theirs.descriptor(), agent: 'other' })).toThrow(/descriptor.agent: expected/);
      expect(() => peer.memory({ ...theirs.descriptor(), address: '12' })).toThrow(/expected hexadecimal/);
      expect(() => peer.memory({ ...theirs.descriptor(), address: '0xffffffffffffffff' })).toThrow(RangeError);
      expect(() => peer.memory({ address: -1n, bytes: 1 })).toThrow(
        'peer.memory descriptor.address: expected memory below 2^53, got 1 bytes at -1',
      );
      expect(() => peer.memory({ address: 2n ** 53n, bytes: 1 })).toThrow(RangeError);
      expect(() => peer.memory({ address: 1n } as never)).toThrow(/descriptor.bytes: expected/);
      expect(() => peer.memory({ address: 1n, bytes: 1, size: 1 } as never)).toThrow(/descriptor.size: unknown option/);
      expect(() => a.write(mine, remote, { backend: 7 } as never)).toThrow(/options.backend: expected a string/);
      expect(() => a.write(mine, remote, { timeout: 7 } as never)).toThrow(/unknown option/);
      expect(() => a.write(mine, remote, { timeoutMs: 0 })).toThrow(RangeError);
      expect(() => a.transfer('MOVE' as never, mine, remote)).toThrow(/expected one of READ, WRITE/);
    });

    it('of released regions are rejected, and their view is empty', async () => {
      const { a, mine, remote } = await pairOf(kind, 4096);
      const view = viewOf(mine);
      const slice = mine.slice(0, 10);
      const prepared = await a.prepare('WRITE', slice, remote.slice(0, 10));
      await prepared.post();
      await mine.release();
      await mine.release();
      expect([view.length, view.byteLength, view[0]]).toEqual([0, 0, undefined]);
      await expect(a.write(slice, remote.slice(0, 10))).rejects.toThrow(/the region of 4096 bytes was released/);
      await expect(prepared.post()).rejects.toMatchObject({ reason: 'nixl.region_released' });
      await expect(mine.upload(Uint8Array.of(1))).rejects.toMatchObject({ reason: 'nixl.region_released' });
    });

    it('can be filled and read by copy', async () => {
      const agent = await agentOf(kind);
      const region = await agent.allocate(100);
      await region.upload(Uint8Array.of(1, 2, 3), 97);
      expect([...(await region.download(96, 4))]).toEqual([0, 1, 2, 3]);
      await expect(region.upload(new Uint8Array(2), 99)).rejects.toBeInstanceOf(RangeError);
      await expect(region.download(0, 101)).rejects.toBeInstanceOf(RangeError);
    });
  });

  describe('an agent', () => {
    it('is not created with wrong options', async () => {
      const library = libraryOf(kind);
      const create = (name: unknown, options: object = {}) => NixlAgent.create(name as string, { library, ...options });
      await expect(create('')).rejects.toBeInstanceOf(RangeError);
      await expect(create(7)).rejects.toBeInstanceOf(TypeError);
      await expect(create('x', { progressDelayUs: 0 })).rejects.toThrow(
        /progressDelayUs: expected an integer from 1000/,
      );
      await expect(create('x', { listenPort: 70000 })).rejects.toBeInstanceOf(RangeError);
      await expect(create('x', { backends: { UCX: { a: 1 } } })).rejects.toThrow(/backends.UCX.a: expected a string/);
      await expect(create('x', { library: {} })).rejects.toThrow(/expected an object of NixlLibrary/);
      const signal = AbortSignal.abort(new Error('never'));
      await expect(create(uniqueName('x'), { signal })).rejects.toThrow('never');
    });

    it('rejects at the deadline with the name of the call', async () => {
      const agent = await agentOf(kind);
      await expect(agent.accept('unknown', { timeoutMs: 30 })).rejects.toMatchObject({
        code: 'DYN_DEADLINE_EXCEEDED',
        reason: 'nixl.deadline',
        operation: 'agent.accept',
      });
      const controller = new AbortController();
      const waiting = agent.accept('unknown', { signal: controller.signal });
      controller.abort(new Error('gone'));
      await expect(waiting).rejects.toThrow('gone');
    });
  });
}
