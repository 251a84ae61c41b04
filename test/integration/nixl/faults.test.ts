import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { ClosedError, loadNixl, type MockKnobs, NixlAgent, type NixlError, type WaitLimit } from 'dynamo-node';
import { afterEach, describe, expect, it, onTestFinished } from 'vitest';

import { withinLimit } from '../../../lib/nixl/limit.js';
import { pattern, sameBytes, uniqueName, viewOf } from '../../helpers/nixl/library.js';
import { expectBaseline, resources, threadsNamed } from '../../helpers/nixl/process-resources.js';
import { freePort } from '../../helpers/runtime/cluster.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';
import { waitFor } from '../../helpers/wait.js';

async function pairWith(mock: MockKnobs) {
  const library = loadNixl({ mode: 'mock', mock });
  const agents = await Promise.all(['a', 'b'].map((name) => NixlAgent.create(uniqueName(name), { library })));
  const [a, b] = agents as [NixlAgent, NixlAgent];
  onTestFinished(async () => {
    loadNixl({ mode: 'mock' });
    for (const agent of agents) await agent.close({ timeoutMs: 500 });
  });
  const [mine, theirs] = [await a.allocate(1 << 20), await b.allocate(1 << 20)];
  const peer = await a.connect(await b.metadata());
  return { a, b, mine, theirs, peer, remote: peer.memory(theirs.descriptor()) };
}

describe('NIXL when the library fails', () => {
  afterEach(() => void loadNixl({ mode: 'mock' }));

  it('ends a transfer at its deadline, keeps its memory, and reports a leak at the close', async () => {
    const { a, mine, remote } = await pairWith({ completion: 'delayed', neverComplete: true });
    await expect(a.write(mine, remote, { timeoutMs: 50 })).rejects.toMatchObject({
      code: 'DYN_DEADLINE_EXCEEDED',
      reason: 'nixl.deadline',
    });
    await expect(mine.release({ timeoutMs: 50 })).rejects.toMatchObject({ reason: 'nixl.deadline' });
    expect(viewOf(mine).length).toBe(0);
    expect(await a.close({ timeoutMs: 100 })).toEqual({ leaked: true });
  });

  it('keeps the memory of an aborted transfer until its last bytes have moved', async () => {
    const { a, mine, theirs, remote } = await pairWith({ completion: 'delayed', latencyUs: 2_000_000 });
    pattern(viewOf(mine), 1);
    const expected = Uint8Array.from(viewOf(mine));
    const controller = new AbortController();
    const writing = a.write(mine, remote, { signal: controller.signal });
    await expect(a.write(mine.slice(0, 10), remote.slice(0, 10), { timeoutMs: 5 })).rejects.toMatchObject({
      reason: 'nixl.deadline',
    });
    controller.abort(new Error('enough'));
    await expect(writing).rejects.toThrow('enough');
    await mine.release();
    expect(sameBytes(viewOf(theirs), expected)).toBe(true);
  });

  it('frees the buffers of a leaked transfer after its end', async () => {
    const { a, remote } = await pairWith({ completion: 'delayed', latencyUs: 3_000_000 });
    const leave = async (): Promise<WeakRef<ArrayBuffer>> => {
      const buffer = new ArrayBuffer(4096);
      const region = await a.register(buffer);
      a.write(region, remote.slice(0, 4096)).catch(() => {});
      return new WeakRef(buffer);
    };
    const buffer = await leave();
    expect(await a.close({ timeoutMs: 50 })).toEqual({ leaked: true });
    resources();
    expect(buffer.deref()?.byteLength).toBe(4096);
    await waitFor('the end of the buffer', () => (resources(), buffer.deref() === undefined));
  });

  it('fails a transfer whose post fails, but not the next one', async () => {
    const { a, mine, remote } = await pairWith({});
    loadNixl({ mode: 'mock', mock: { failAt: 1 } });
    const outcomes = [];
    for (let index = 0; index < 3; index++)
      outcomes.push(
        await a.write(mine, remote).then(
          () => 'done',
          (error: NixlError) => error.reason,
        ),
      );
    expect(outcomes).toEqual(['nixl.transfer', 'done', 'done']);
  });

  it('rejects a second post in flight without an effect on the first', async () => {
    const { a, mine, theirs, remote } = await pairWith({ completion: 'delayed', latencyUs: 1_000_000 });
    pattern(viewOf(mine), 2);
    await using prepared = await a.prepare('WRITE', mine, remote);
    const first = prepared.post();
    await expect(prepared.post()).rejects.toMatchObject({ reason: 'nixl.active' });
    await first;
    expect(sameBytes(viewOf(theirs), viewOf(mine))).toBe(true);
  });

  it('keeps a peer that connects again while its disconnect waits for a transfer', async () => {
    const { a, b, mine, theirs, peer, remote } = await pairWith({ completion: 'delayed', latencyUs: 1_500_000 });
    const metadata = await b.metadata();
    const writing = a.write(mine, remote);
    writing.catch(() => {});
    await expect(peer.disconnect({ timeoutMs: 50 })).rejects.toMatchObject({ reason: 'nixl.deadline' });
    const again = await a.connect(metadata);
    expect(again.generation).toBe(peer.generation + 1);
    await writing.catch(() => {});
    // The disconnect acts after the end of the transfer, and before the next call.
    await a.metadata();
    loadNixl({ mode: 'mock', mock: {} });
    pattern(viewOf(mine), 3);
    await a.write(mine, again.memory(theirs.descriptor()));
    expect(sameBytes(viewOf(theirs), viewOf(mine))).toBe(true);
  });

  it('reports a dead peer as lost', async () => {
    const { a, b, mine, remote, peer } = await pairWith({});
    await a.write(mine, remote);
    loadNixl({ mode: 'mock', mock: { dropPeer: b.name } });
    await expect(a.write(mine, remote)).rejects.toMatchObject({ class: 'Unavailable', retryable: true });
    await expect(peer.notify('x')).rejects.toMatchObject({ reason: 'nixl.peer_lost' });
  });

  describe('connect to a restarted peer with a transfer in flight to the old one', () => {
    async function startedAnew(mock: MockKnobs) {
      const pair = await pairWith({ completion: 'delayed', ...mock });
      const again = await NixlAgent.create(pair.b.name, { library: pair.a.library });
      onTestFinished(async () => void (await again.close()));
      const theirs = await again.allocate(1 << 20);
      return { ...pair, again, theirs, metadata: await again.metadata() };
    }

    it('waits until the transfer has ended', async () => {
      const { a, again, mine, theirs, remote, metadata } = await startedAnew({ latencyUs: 300_000 });
      const order: string[] = [];
      const writing = a.write(mine, remote).then(() => order.push('written'));
      const peer = await a.connect(metadata);
      order.push('connected');
      await writing;
      expect(order).toEqual(['written', 'connected']);
      expect([peer.name, peer.generation]).toEqual([again.name, 2]);
      pattern(viewOf(mine), 3);
      await a.write(mine, peer.memory(theirs.descriptor()));
      expect(sameBytes(viewOf(theirs), viewOf(mine))).toBe(true);
    });

    it('waits for at most a second', async () => {
      const { a, mine, theirs, remote, metadata } = await startedAnew({ neverComplete: true });
      a.write(mine, remote).catch(() => {});
      const begun = performance.now();
      const peer = await a.connect(metadata);
      expect(performance.now() - begun).toBeGreaterThan(900);
      expect(peer.generation).toBe(2);
      loadNixl({ mode: 'mock' });
      pattern(viewOf(mine), 3);
      await a.write(mine, peer.memory(theirs.descriptor()));
      expect(sameBytes(viewOf(theirs), viewOf(mine))).toBe(true);
    });

    it('rejects at its limit', async () => {
      const { a, mine, remote, metadata } = await startedAnew({ neverComplete: true });
      a.write(mine, remote).catch(() => {});
      await expect(a.connect(metadata, { timeoutMs: 30 })).rejects.toMatchObject({
        reason: 'nixl.deadline',
        operation: 'agent.connect',
      });
    });
  });

  describe('a limit', () => {
    /** Checks that a call ends at its deadline, and with its signal. */
    async function expectLimits(operation: string, call: (limit: WaitLimit) => Promise<unknown>): Promise<void> {
      await expect(call({ timeoutMs: 30 })).rejects.toMatchObject({
        code: 'DYN_DEADLINE_EXCEEDED',
        reason: 'nixl.deadline',
        operation,
      });
      await expect(call({ signal: AbortSignal.abort(new Error('before')) })).rejects.toThrow('before');
      const controller = new AbortController();
      const waiting = call({ signal: controller.signal });
      controller.abort(new Error('enough'));
      await expect(waiting).rejects.toThrow('enough');
    }

    it('ends the wait of a block transfer, a disconnect and a release', async () => {
      const { a, mine, peer, remote } = await pairWith({ completion: 'delayed', neverComplete: true });
      const [local, other, one] = [await a.blocks(mine, 4096), await a.blocks(remote, 4096), Int32Array.of(0)];
      await expectLimits('agent.transferBlocks', (limit) => a.transferBlocks('READ', local, one, other, one, limit));
      a.write(mine, remote).catch(() => {});
      await expectLimits('peer.disconnect', (limit) => peer.disconnect(limit));
      await expectLimits('region.release', (limit) => mine.release(limit));
    });

    it('ends a fetch without an answer', async () => {
      const library = loadNixl({ mode: 'mock' });
      const agent = await NixlAgent.create(uniqueName('fetching'), { library, listenPort: await freePort() });
      onTestFinished(async () => void (await agent.close()));
      const from = { host: '127.0.0.1', port: await freePort() };
      await expectLimits('agent.fetch', (limit) => agent.fetch('unknown', from, limit));
    });

    /** A call whose answer arrives after its limit. */
    async function late(call: (limit: WaitLimit) => Promise<unknown>, operation: string): Promise<void> {
      // The event loop runs timers next, and answers after them.
      await turn();
      const done = expect(call({ timeoutMs: 1 }), operation).rejects.toMatchObject({
        code: 'DYN_DEADLINE_EXCEEDED',
        reason: 'nixl.deadline',
        operation,
      });
      for (const until = performance.now() + 20; performance.now() < until; );
      await done;
    }

    it('ends every other call, and releases late results', async () => {
      const { a, mine, peer, remote } = await pairWith({});
      const folder = temporaryFolder();
      writeFileSync(join(folder, 'blocks'), Buffer.alloc(4096));
      await a.createBackend('POSIX');
      const [local, other, one] = [await a.blocks(mine, 4096), await a.blocks(remote, 4096), Int32Array.of(0)];
      const transfer = await a.prepare('READ', mine, remote);
      const buffer = new Uint8Array(8192);
      const to = { host: '127.0.0.1', port: await freePort() };
      const calls: Record<string, ((limit: WaitLimit) => Promise<unknown>)[]> = {
        'agent.plugins': [(limit) => a.plugins(limit)],
        'agent.allocate': [(limit) => a.allocate(4096, limit)],
        'agent.register': [
          (limit) => a.register(buffer, limit),
          (limit) => a.register({ path: join(folder, 'blocks'), bytes: 4096 }, limit),
        ],
        'agent.registerMany': [(limit) => a.registerMany([buffer.subarray(0, 64), buffer.subarray(64, 128)], limit)],
        'agent.metadata': [(limit) => a.metadata(limit), (limit) => a.metadata({ regions: [mine], ...limit })],
        'agent.sendMetadata': [(limit) => a.sendMetadata(to, limit)],
        'agent.withdrawMetadata': [(limit) => a.withdrawMetadata(to, limit)],
        'agent.prepare': [(limit) => a.prepare('READ', mine, remote, limit)],
        'agent.prepareBlocks': [(limit) => a.prepareBlocks('READ', local, one, other, one, limit)],
        'agent.blocks': [(limit) => a.blocks(mine, { blockBytes: 4096, ...limit })],
        'agent.queryMemory': [(limit) => a.queryMemory('FILE', [join(folder, 'blocks')], 'POSIX', limit)],
        'region.upload': [(limit) => mine.upload(buffer.subarray(0, 64), 0, limit)],
        'region.download': [(limit) => mine.download(0, 64, limit)],
        'transfer.estimate': [(limit) => transfer.estimate(limit)],
        'transfer.telemetry': [(limit) => transfer.telemetry(limit)],
      };
      const metadata = await a.metadata();
      const before = resources();
      for (const [operation, ways] of Object.entries(calls)) {
        for (const call of ways) {
          await late(call, operation);
          const controller = new AbortController();
          const waiting = call({ signal: controller.signal });
          controller.abort(new Error('enough'));
          await expect(waiting, operation).rejects.toThrow('enough');
          await expect(call({ signal: AbortSignal.abort(new Error('before')) }), operation).rejects.toThrow('before');
          await expect(call({ timeoutMs: 0 }), operation).rejects.toThrow(
            new RegExp(`${operation} options\\.timeoutMs`),
          );
        }
      }
      await expectBaseline(before, 'cancelled calls');
      // None of their regions is left, and the pair still works.
      expect(await a.metadata()).toEqual(metadata);
      await transfer.post();
      await late((limit) => transfer.release(limit), 'transfer.release');
      await late((limit) => local.release(limit), 'blocks.release');
      expect(() => transfer.post()).toThrow(ClosedError);
      await peer.disconnect();
    });

    it('that has passed ends the wait for a release, not the release', async () => {
      const { a, mine, remote } = await pairWith({});
      const transfer = await a.prepare('READ', mine, remote);
      const list = await a.blocks(mine, 4096);
      const before = { signal: AbortSignal.abort(new Error('before')) };
      for (const [what, operation] of [
        [transfer, 'transfer.post'],
        [list, 'agent.prepareBlocks'],
        [mine, 'region.slice'],
      ] as const) {
        await expect(what.release(before), operation).rejects.toThrow('before');
        await what.release();
      }
      expect(() => transfer.post()).toThrow(ClosedError);
      expect(mine.isOpen).toBe(false);
    });

    it('that passes while a message arrives returns the message', async () => {
      const { a } = await pairWith({});
      const reader = a.notifications({ timeoutMs: 400 });
      for (const text of ['one', 'two', 'three']) {
        await turn();
        const read = reader.next();
        await turn();
        await a.self.notify(text);
        // The message has arrived and the time has passed before the loop turns again.
        for (const until = performance.now() + 600; performance.now() < until; );
        expect(Buffer.from((await read).value.data).toString()).toBe(text);
      }
      await reader.return();
    });

    it('that passes when the result arrives has one outcome', async () => {
      for (const signalFirst of [true, false]) {
        const controller = new AbortController();
        let finish = (_: string): void => {};
        const undone: string[] = [];
        const work = new Promise<string>((resolve) => (finish = resolve));
        const waiting = withinLimit(
          { signal: controller.signal },
          () => work,
          (late) => undone.push(late),
        ).then(
          (value) => `got ${value}`,
          (error: Error) => error.message,
        );
        const abort = (): void => controller.abort(new Error('enough'));
        if (signalFirst) abort();
        finish('it');
        if (!signalFirst) abort();
        const outcome = await waiting;
        await turn();
        expect(undone).toEqual(outcome === 'enough' ? ['it'] : []);
      }
    });

    it('ends a read of notifications if none arrives in time', async () => {
      const { a } = await pairWith({});
      const read: string[] = [];
      await a.self.notify('first');
      const reading = async (): Promise<void> => {
        for await (const { data } of a.notifications({ timeoutMs: 1500 })) read.push(Buffer.from(data).toString());
      };
      await expect(reading()).rejects.toMatchObject({
        code: 'DYN_DEADLINE_EXCEEDED',
        reason: 'nixl.deadline',
        operation: 'agent.notifications',
      });
      expect(read).toEqual(['first']);
      await a.self.notify('second');
      for await (const { data } of a.notifications({ timeoutMs: 10_000 })) {
        expect(Buffer.from(data).toString()).toBe('second');
        break;
      }
    });

    it('ends a message and the creation of an agent although the answer arrives', async () => {
      const { a, peer } = await pairWith({});
      const before = resources();
      await late((limit) => peer.notify('late', limit), 'peer.notify');
      await late((limit) => NixlAgent.create(uniqueName('late'), { library: a.library, ...limit }), 'NixlAgent.create');
      await waitFor(
        'the end of the agent',
        () => (resources(), threadsNamed('nixl-late-')),
        ({ length }) => length === 0,
      );
      await expectBaseline(before, 'an agent that came late');
      const controller = new AbortController();
      const sent = peer.notify('x', { signal: controller.signal });
      controller.abort(new Error('enough'));
      await expect(sent).rejects.toThrow('enough');
    });
  });
});
