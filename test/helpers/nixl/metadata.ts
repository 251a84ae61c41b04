import { loadNixl, NixlAgent } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';

import { freePort } from '../runtime/cluster.js';
import { agentOf, type Kind, libraryOf, pairOf, pattern, sameBytes, uniqueName, viewOf } from './library.js';

export function describeMetadata(kind: Kind): void {
  describe('metadata', () => {
    it("is needed before a transfer, and must not be the agent's", async () => {
      const agent = await agentOf(kind);
      await agent.allocate(4096);
      await expect(agent.connect(await agent.metadata())).rejects.toMatchObject({ reason: 'nixl.own_metadata' });
      const bare = await agentOf(kind, 'bare', { backends: {} });
      await expect(bare.metadata()).rejects.toMatchObject({ reason: 'nixl.no_backend' });
      await expect(bare.connect(new Uint8Array(10))).rejects.toMatchObject({ reason: 'nixl.no_backend' });
    });

    it('with regions contains only those regions, and is enough for a peer that did not know the agent', async () => {
      const [a, b, c] = [await agentOf(kind), await agentOf(kind), await agentOf(kind)];
      const [shared, hidden] = [await b.allocate(4096), await b.allocate(4096)];
      const part = await b.metadata({ regions: [shared] });
      expect((await c.connect(await b.metadata({ regions: [] }))).generation).toBe(1);
      for (const [seed, agent] of [a, c].entries()) {
        const mine = await agent.allocate(4096);
        const peer = await agent.connect(part);
        expect([peer.name, peer.generation]).toEqual([b.name, 1]);
        pattern(viewOf(mine), seed);
        await agent.write(mine, peer.memory(shared.descriptor()), { notify: 'written' });
        expect(sameBytes(viewOf(shared), viewOf(mine))).toBe(true);
        await expect(agent.write(mine, peer.memory(hidden.descriptor()))).rejects.toMatchObject({
          reason: 'nixl.range',
        });
        await agent.connect(await b.metadata({ regions: [hidden] }));
        await agent.write(mine, peer.memory(hidden.descriptor()));
        expect(sameBytes(viewOf(hidden), viewOf(mine))).toBe(true);
      }
    });

    it('names an agent without a name by a UUID', async () => {
      const library = libraryOf(kind);
      const [one, two, named] = [
        await NixlAgent.create({ library }),
        await NixlAgent.create({ library, progressDelayUs: 20_000 }),
        await NixlAgent.create(uniqueName('named'), { library }),
      ];
      onTestFinished(async () => void (await Promise.all([one, two, named].map((agent) => agent.close()))));
      for (const { name } of [one, two]) expect(name).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
      expect(one.name).not.toBe(two.name);
      const theirs = await two.allocate(4096);
      const peer = await one.connect(await two.metadata());
      expect(peer.name).toBe(two.name);
      await one.write(await one.allocate(4096), peer.memory({ address: theirs.address, bytes: theirs.bytes }));
      await expect(NixlAgent.create('', { library })).rejects.toThrow(/name: expected a name without control/);
    });

    it('must be loaded again for later regions, and keeps the generation', async () => {
      const { a, b, mine, peer } = await pairOf(kind, 4096);
      const later = await b.allocate(4096);
      await expect(a.write(mine, peer.memory(later.descriptor()))).rejects.toThrow(/exchange the metadata again/);
      const again = await a.connect(await b.metadata());
      expect(again.generation).toBe(peer.generation);
      await a.write(mine, peer.memory(later.descriptor()));
    });

    it('is rejected if it is damaged, and changes nothing', async () => {
      const { a, b, mine, remote } = await pairOf(kind, 4096);
      const metadata = await b.metadata();
      for (const length of [0, 1, 20, 60, metadata.length - 60, metadata.length - 25]) {
        await expect(a.connect(metadata.subarray(0, length)), `cut to ${length}`).rejects.toMatchObject({
          reason: 'nixl.metadata',
          class: 'InvalidRequest',
        });
      }
      // The rest is the checksum. Without it the metadata is valid, like that of another program.
      const checked = metadata.length - '|dynamo-node/1|'.length - 8;
      for (let place = 0; place < checked; place += 7) {
        const damaged = Uint8Array.from(metadata);
        damaged[place] = (damaged[place] as number) ^ 0x55;
        await expect(a.connect(damaged), `damaged at ${place}`).rejects.toMatchObject({ reason: 'nixl.metadata' });
      }
      await expect(a.connect(pattern(new Uint8Array(1000), 5))).rejects.toMatchObject({ reason: 'nixl.metadata' });
      await a.write(mine, remote);
      expect((await a.connect(metadata)).generation).toBe(1);
    });

    it('of a restarted peer replaces the old peer', async () => {
      const a = await agentOf(kind);
      const mine = await a.allocate(4096);
      const name = uniqueName('again');
      let last: Awaited<ReturnType<typeof a.prepare>> | undefined;
      for (let generation = 1; generation <= 3; generation++) {
        const b = await NixlAgent.create(name, { library: libraryOf(kind) });
        const theirs = await b.allocate(4096);
        const peer = await a.connect(await b.metadata());
        expect([peer.name, peer.generation]).toEqual([name, generation]);
        if (last !== undefined)
          await expect(last.post()).rejects.toMatchObject({ reason: 'nixl.peer_restarted', retryable: true });
        pattern(viewOf(mine), generation);
        last = await a.prepare('WRITE', mine, peer.memory(theirs.descriptor()));
        await last.post();
        expect(sameBytes(viewOf(theirs), viewOf(mine))).toBe(true);
        await b.close();
      }
    });

    it('of a restarted peer can be fetched again, or loaded directly', {
      timeout: 60_000,
    }, async () => {
      const a = await agentOf(kind, 'a', { listenPort: await freePort() });
      const [mine, name] = [await a.allocate(4096), uniqueName('again')];
      for (let generation = 1; generation <= 4; generation++) {
        const port = await freePort();
        const b = await NixlAgent.create(name, { library: libraryOf(kind), listenPort: port });
        const theirs = await b.allocate(4096);
        const byHand = generation === 3;
        const peer = byHand
          ? await a.connect(await b.metadata())
          : await a.fetch(name, { host: '127.0.0.1', port }, { timeoutMs: 10_000 });
        expect([peer.name, peer.generation]).toEqual([name, generation]);
        pattern(viewOf(mine), generation);
        await a.write(mine, peer.memory(theirs.descriptor()));
        expect(sameBytes(viewOf(theirs), viewOf(mine))).toBe(true);
        await b.close();
      }
    });

    it('is removed by disconnect, and can be loaded again', async () => {
      const { a, b, mine, theirs, peer, remote } = await pairOf(kind, 4096);
      await peer.disconnect();
      await peer.disconnect();
      await expect(a.write(mine, remote)).rejects.toMatchObject({ reason: 'nixl.peer_disconnected' });
      await expect(peer.notify('x')).rejects.toMatchObject({ reason: 'nixl.peer_disconnected' });
      const again = await a.connect(await b.metadata());
      expect(again.generation).toBe(2);
      await a.write(mine, again.memory(theirs.descriptor()));
    });
  });

  describe('the library', () => {
    it('reports its kind, its features and its plugins', async () => {
      const library = libraryOf(kind);
      expect(library.kind).toBe(kind === 'mock' ? 'mock' : 'real');
      expect(library.path === '').toBe(kind === 'mock');
      for (const feature of ['preparedLists', 'partialMetadata', 'telemetry', 'cost', 'queryMemory'] as const)
        expect(library.supports(feature)).toBe(true);
      const agent = await agentOf(kind);
      const plugins = await agent.plugins();
      expect(plugins.find(({ name }) => name === 'UCX')).toMatchObject({
        loads: true,
        memories: expect.arrayContaining(['DRAM']),
      });
      expect(plugins.find(({ name }) => name === 'POSIX')).toMatchObject({
        loads: true,
        memories: expect.arrayContaining(['FILE']),
      });
    });

    it('rejects backends that exist already, are unknown, or cannot be loaded', async () => {
      const agent = await agentOf(kind);
      await expect(agent.createBackend('UCX')).rejects.toMatchObject({ reason: 'nixl.backend_exists' });
      await expect(agent.createBackend('NOPE')).rejects.toMatchObject({
        reason: 'nixl.backend',
        call: 'create_backend',
      });
      await expect(
        NixlAgent.create(uniqueName('x'), { library: libraryOf(kind), backends: { NOPE: {} } }),
      ).rejects.toMatchObject({ call: 'create_backend' });
    });

    it('rejects device memory without a GPU before the library sees it', async () => {
      const { a, b, mine, remote } = await pairOf(kind, 4096);
      if (!a.library.cuda.available) {
        expect(a.library.cuda.reason).not.toBe('');
        await expect(a.allocate(4096, { memory: 'VRAM' })).rejects.toMatchObject({
          reason: 'nixl.no_gpu',
          class: 'NotImplemented',
        });
        await expect(b.register({ address: 4096n, bytes: 4096, memory: 'VRAM' })).rejects.toMatchObject({
          reason: 'nixl.no_gpu',
        });
      }
      await a.connect(await b.metadata());
      await a.write(mine, remote);
    });

    it('names the places that were searched if it is not found', () => {
      try {
        loadNixl({ mode: 'real', path: '/nowhere/libnixl_capi.so' });
        expect.fail('it was loaded');
      } catch (error) {
        expect(error).toMatchObject({
          name: 'NixlLoadError',
          reason: 'nixl.not_loaded',
          tried: [{ path: '/nowhere/libnixl_capi.so' }],
        });
        expect((error as Error).message).toMatch(/pip install --no-deps nixl-cu12/);
      }
    });

    it('rejects unknown options and wrong values', () => {
      expect(() => loadNixl({ mode: 'fake' as never })).toThrow(
        /loadNixl options.mode: expected one of real, mock, auto/,
      );
      expect(() => loadNixl({ mock: { polls: -1 } })).toThrow(RangeError);
      expect(() => loadNixl({ file: 'x' } as never)).toThrow(/unknown option/);
    });
  });

  describe('files', () => {
    it('are read and written through POSIX', async (context) => {
      const { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } = await import('node:fs');
      const { tmpdir } = await import('node:os');
      const { join } = await import('node:path');
      const folder = mkdtempSync(join(tmpdir(), 'dynamo-nixl-'));
      context.onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
      const agent = await agentOf(kind, 'files', { backends: { UCX: {}, POSIX: {} } });
      const bytes = (9 << 20) + 5;
      const memory = await agent.allocate(bytes);
      pattern(viewOf(memory), 4);
      const path = join(folder, 'blocks');
      const file = await agent.register({ path, bytes, access: 'write', create: true });
      expect(file).toMatchObject({ memory: 'FILE', bytes, view: null });
      await agent.write(memory, file);
      expect(sameBytes(readFileSync(path), viewOf(memory))).toBe(true);
      const back = await agent.allocate(4096);
      await agent.read(back, file.slice(8192, 4096));
      expect(sameBytes(viewOf(back), viewOf(memory).subarray(8192, 12288))).toBe(true);
      const [known, unknown] = await agent.queryMemory('FILE', [path, join(folder, 'nothing')], 'POSIX');
      const { mode, mtimeMs } = statSync(path);
      expect(known).toEqual({ size: String(bytes), mode: String(mode), mtime: String(Math.floor(mtimeMs / 1000)) });
      expect(unknown).toBeNull();
      await expect(agent.write(back, file.slice(0, 4096), { notify: 'x' })).rejects.toMatchObject({
        reason: 'nixl.not_supported',
      });
      await file.release();
      await expect(agent.register({ path: join(folder, 'nothing'), bytes: 10 })).rejects.toMatchObject({
        reason: 'nixl.file',
        class: 'NotFound',
      });
      writeFileSync(join(folder, 'short'), 'short');
      const short = await agent.register({ path: join(folder, 'short'), bytes: 4096 });
      await expect(agent.read(back, short)).rejects.toMatchObject({ reason: 'nixl.transfer' });
      const copy = await agent.allocate(100);
      await agent.write(copy, back.slice(0, 100));
    });

    it('can be registered by their descriptor', async (context) => {
      const { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } = await import('node:fs');
      const { tmpdir } = await import('node:os');
      const { join } = await import('node:path');
      const folder = mkdtempSync(join(tmpdir(), 'dynamo-nixl-'));
      context.onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
      writeFileSync(join(folder, 'blocks'), new Uint8Array(8192));
      const fd = openSync(join(folder, 'blocks'), 'r+');
      context.onTestFinished(() => closeSync(fd));
      const agent = await agentOf(kind, 'files', { backends: { UCX: {}, POSIX: {} } });
      const [memory, file] = [await agent.allocate(4096), await agent.register({ fd, bytes: 8192 })];
      pattern(viewOf(memory), 6);
      await agent.write(memory, file.slice(4096));
      expect(sameBytes(readFileSync(join(folder, 'blocks')).subarray(4096), viewOf(memory))).toBe(true);
      await file.release();
    });

    it('need a backend that accepts them', async () => {
      const agent = await agentOf(kind);
      await expect(agent.register({ path: '/etc/hostname', bytes: 1 })).rejects.toMatchObject({
        reason: 'nixl.no_backend',
      });
    });
  });
}
