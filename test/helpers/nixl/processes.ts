import { createHash } from 'node:crypto';
import {
  type MemoryDescriptor,
  type MemoryRegion,
  type NixlAgent,
  NixlError,
  type NixlPeer,
  type PreparedTransfer,
  type RemoteMemory,
  type WaitLimit,
} from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';

import { Child } from '../child.js';
import { waitFor, within } from '../wait.js';
import { agentOf, type Kind, pattern, uniqueName, viewOf } from './library.js';
import { expectBaseline, type Resources, resources } from './process-resources.js';

interface Ready {
  readonly metadata: string;
  readonly descriptor: MemoryDescriptor;
}

/** The time to start a process on a busy machine. */
const START_MS = 120_000;

async function startPeer(kind: Kind, name: string, bytes: number): Promise<{ child: Child; ready: Ready }> {
  const env = kind === 'tcp' ? { UCX_TLS: 'tcp' } : {};
  const child = Child.program('test/helpers/nixl/programs/peer.ts', [kind, name, String(bytes)], {
    env: { NIXL_LOG_LEVEL: 'FATAL', UCX_LOG_LEVEL: 'fatal', ...env },
  });
  onTestFinished(() => child.stop());
  return { child, ready: (await child.event('ready', {}, START_MS)) as unknown as Ready };
}

async function ask(child: Child, command: { do: string; [field: string]: unknown }): Promise<Record<string, unknown>> {
  child.send(command);
  return child.event(command.do, {}, 60_000);
}

const connect = (agent: NixlAgent, ready: Ready): Promise<NixlPeer> =>
  agent.connect(Buffer.from(ready.metadata, 'base64'));

const hashOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

const BYTES = 24 << 20;
const BLOCK = 64 << 10;
/** Less than one leaked region in two rounds. */
const SPARE_MIB = 24;
const COUNT = BYTES / BLOCK;

/** The state at a fault of the peer: no transfer, a prepared transfer, transfers in flight. */
const STATES = ['connected', 'prepared', 'writing', 'reading'] as const;
type State = (typeof STATES)[number];

/** The expected content of memory. Allocated once, because allocators keep blocks of that size. */
const expected = new Uint8Array(BYTES);

/** Checks every block against the pattern of a seed. */
function expectBlocks(view: Uint8Array, seed: number, what: string): void {
  pattern(expected, seed);
  for (let block = 0; block < COUNT; block++) {
    const [from, to] = [block * BLOCK, (block + 1) * BLOCK];
    if (hashOf(view.subarray(from, to)) !== hashOf(expected.subarray(from, to)))
      expect.fail(`${what}: block ${block} has wrong bytes`);
  }
}

interface Meeting {
  readonly agent: NixlAgent;
  readonly mine: MemoryRegion;
  readonly remote: RemoteMemory;
}

/** Enters a state, and returns its transfers in flight. */
async function enter(
  state: State,
  { agent, mine, remote }: Meeting,
): Promise<{ prepared: PreparedTransfer; running: Promise<PromiseSettledResult<unknown>[]> }> {
  const operation = state === 'reading' ? 'READ' : 'WRITE';
  const prepared = await agent.prepare(operation, mine.slice(0, 4096), remote.slice(0, 4096));
  if (state === 'prepared') await prepared.post();
  const move = (): Promise<unknown> => agent.transfer(operation, mine, remote);
  const moving = state === 'writing' || state === 'reading';
  return { prepared, running: moving ? Promise.allSettled([move(), move(), move()]) : Promise.resolve([]) };
}

/** After any fault, a completed transfer has moved every byte, and a failed one has a reason. */
async function expectHonest(running: Promise<PromiseSettledResult<unknown>[]>, check: () => unknown): Promise<void> {
  const outcomes = await within(20_000, 'the end of the transfers in flight', running);
  for (const outcome of outcomes) if (outcome.status === 'rejected') expect(outcome.reason).toBeInstanceOf(NixlError);
  if (outcomes.length > 0 && outcomes.every(({ status }) => status === 'fulfilled')) await check();
}

/** Moves blocks to the peer in another order and back. Checks each block on both sides. */
async function expectBlocksMove(meeting: Meeting, child: Child, seed: number): Promise<void> {
  const { agent, mine, remote } = meeting;
  const [local, other] = [await agent.blocks(mine, BLOCK), await agent.blocks(remote, BLOCK)];
  const places = Int32Array.from({ length: COUNT }, (_, index) => index);
  const turned = places.slice().reverse();
  pattern(viewOf(mine), seed);
  await agent.transferBlocks('WRITE', local, places, other, turned);
  for (let block = 0; block < COUNT; block++)
    expected.set(viewOf(mine).subarray(block * BLOCK, (block + 1) * BLOCK), (COUNT - 1 - block) * BLOCK);
  expect((await ask(child, { do: 'hash' }))['hash']).toBe(hashOf(expected));
  viewOf(mine).fill(0);
  await agent.transferBlocks('READ', local, places, other, turned);
  expectBlocks(viewOf(mine), seed, 'read back');
  await Promise.all([local.release(), other.release()]);
}

export function describeProcesses(kind: Kind, times: number): void {
  describe('two processes', () => {
    it('read, write and notify in both directions', { timeout: START_MS + 30_000 }, async () => {
      const agent = await agentOf(kind);
      const mine = await agent.allocate(BYTES);
      const { child, ready } = await startPeer(kind, uniqueName('peer'), BYTES);
      const peer = await connect(agent, ready);
      const remote = peer.memory(ready.descriptor);
      pattern(viewOf(mine), 1);
      await agent.write(mine, remote);
      expect((await ask(child, { do: 'hash' }))['hash']).toBe(hashOf(viewOf(mine)));
      await ask(child, { do: 'pattern', seed: 2 });
      await agent.read(mine, remote);
      expect(hashOf(viewOf(mine))).toBe((await ask(child, { do: 'hash' }))['hash']);
      await ask(child, { do: 'connect', metadata: Buffer.from(await agent.metadata()).toString('base64') });
      await ask(child, { do: 'pattern', seed: 3 });
      const messages = agent.notifications();
      await ask(child, { do: 'write', descriptor: mine.descriptor(), notify: 'written' });
      expect(Buffer.from((await within(30_000, 'the message', messages.next())).value.data).toString()).toBe('written');
      expect(hashOf(viewOf(mine))).toBe((await ask(child, { do: 'hash' }))['hash']);
      child.send({ do: 'receive' });
      await peer.notify('thanks');
      expect(await child.event('receive')).toMatchObject({ from: agent.name, text: 'thanks' });
      expect(await ask(child, { do: 'close' })).toMatchObject({ leaked: false });
    });
  });

  describe.each(STATES)('a peer that is killed while %s', (state) => {
    it(`fails transfers in flight, and connects again under its name (${times} times)`, {
      timeout: START_MS + times * 20_000,
    }, async () => {
      const agent = await agentOf(kind);
      const mine = await agent.allocate(BYTES);
      const name = uniqueName('killed');
      let before: Resources | undefined;
      for (let time = 1; time <= times; time++) {
        const { child, ready } = await startPeer(kind, name, BYTES);
        const peer = await connect(agent, ready);
        expect(peer.generation).toBe(time);
        const meeting = { agent, mine, remote: peer.memory(ready.descriptor) };
        if (time === 1) await expectBlocksMove(meeting, child, 5);
        await ask(child, { do: 'pattern', seed: time });
        pattern(viewOf(mine), -time);
        const { prepared, running } = await enter(state, meeting);
        if (time === 2) before = resources();
        child.kill('SIGKILL');
        await child.exit();
        await expectHonest(
          running,
          () => state === 'reading' && expectBlocks(viewOf(mine), time, 'a read that was done'),
        );
        // The library detects it a moment later.
        const error = await waitFor(
          'the failure of a transfer with a dead peer',
          () =>
            agent.read(mine, meeting.remote).then(
              () => undefined,
              (reason: NixlError) => reason,
            ),
          (reason) => reason !== undefined,
          20_000,
        );
        expect(error).toMatchObject({ class: 'Unavailable', retryable: true });
        await expect(prepared.post({ timeoutMs: 10_000 })).rejects.toBeInstanceOf(NixlError);
      }
      const { child, ready } = await startPeer(kind, name, BYTES);
      const peer = await connect(agent, ready);
      await expectBlocksMove({ agent, mine, remote: peer.memory(ready.descriptor) }, child, 9);
      await expectBaseline(before as Resources, `${kind}, ${times} kills while ${state}`, SPARE_MIB);
    });
  });

  describe.each(STATES)('a peer that is stopped while %s', (state) => {
    it(`delays its transfers at most until their deadline, and no others (${times} times)`, {
      timeout: START_MS + times * 20_000,
    }, async () => {
      const agent = await agentOf(kind);
      const mine = await agent.allocate(BYTES);
      const local = await agent.allocate(4096);
      const { child, ready } = await startPeer(kind, uniqueName('stopped'), BYTES);
      const peer = await connect(agent, ready);
      const meeting = { agent, mine, remote: peer.memory(ready.descriptor) };
      await expectBlocksMove(meeting, child, 5);
      let before: Resources | undefined;
      for (let time = 1; time <= times; time++) {
        if (time === 2) before = resources();
        const seed = 100 + time;
        await ask(child, { do: 'pattern', seed });
        pattern(viewOf(mine), state === 'reading' ? -seed : seed);
        const { prepared, running } = await enter(state, meeting);
        child.kill('SIGSTOP');
        const late = prepared.post({ timeoutMs: 100, notify: 'awake' }).then(
          () => 'done',
          (error: NixlError) => error.reason,
        );
        await within(30_000, 'a transfer within the agent', agent.write(mine.slice(0, 4096), local));
        expect(['done', 'nixl.deadline']).toContain(await late);
        child.kill('SIGCONT');
        await expectHonest(
          running,
          () => state === 'reading' && expectBlocks(viewOf(mine), seed, 'a read of a peer that was stopped'),
        );
        await within(30_000, 'a transfer with the resumed peer', agent.write(mine, meeting.remote));
        expect((await ask(child, { do: 'hash' }))['hash']).toBe(hashOf(viewOf(mine)));
        await prepared.release();
      }
      await expectBlocksMove(meeting, child, 8);
      await expectBaseline(before as Resources, `${kind}, ${times} stops while ${state}`, SPARE_MIB);
    });
  });

  describe('a peer that is stopped with a transfer in flight', () => {
    it('is replaced by a restarted peer of its name, and its transfer ends', {
      timeout: 2 * START_MS,
    }, async () => {
      const agent = await agentOf(kind);
      const mine = await agent.allocate(BYTES);
      const name = uniqueName('restarted');
      const [old, restarted] = [await startPeer(kind, name, BYTES), await startPeer(kind, name, BYTES)];
      const remote = (await connect(agent, old.ready)).memory(old.ready.descriptor);
      await agent.write(mine.slice(0, 4096), remote.slice(0, 4096));
      old.child.kill('SIGSTOP');
      const writing = agent.write(mine, remote).then(
        () => 'done',
        (error: NixlError) => error.reason,
      );
      const peer = await within(30_000, 'the restarted peer', connect(agent, restarted.ready));
      expect(peer.generation).toBe(2);
      const outcome = await within(30_000, 'the end of the transfer', writing);
      // A one-sided copy does not need a running peer.
      expect(kind === 'ucx' ? ['done', 'nixl.peer_restarted'] : ['nixl.peer_restarted']).toContain(outcome);
      await expectBlocksMove({ agent, mine, remote: peer.memory(restarted.ready.descriptor) }, restarted.child, 6);
    });
  });

  describe('a peer that is killed with transfers in flight', () => {
    /** Stops the peer, so that its transfers do not end, except one-sided copies (CMA). */
    async function begin(agent: NixlAgent, limit: WaitLimit = {}) {
      const mine = await agent.allocate(BYTES);
      const { child, ready } = await startPeer(kind, uniqueName('lost'), BYTES);
      const peer = await connect(agent, ready);
      const remote = peer.memory(ready.descriptor);
      await agent.write(mine.slice(0, 4096), remote.slice(0, 4096));
      child.kill('SIGSTOP');
      const writes = [1, 2, 3].map(() =>
        agent.write(mine, remote, limit).then(
          () => 'done',
          (error: NixlError) => error.reason ?? error.message,
        ),
      );
      // The agent answers this call after it has begun them.
      await agent.metadata();
      return { child, mine, peer, remote, writes };
    }

    it('is reported as lost by each of them', { timeout: 2 * START_MS }, async () => {
      const agent = await agentOf(kind);
      const { child, mine, remote, writes } = await begin(agent);
      child.kill('SIGKILL');
      await child.exit();
      const outcomes = await within(20_000, 'the end of the transfers in flight', Promise.all(writes));
      if (kind !== 'ucx') expect(outcomes).toEqual(Array(3).fill('nixl.peer_lost'));
      for (const outcome of outcomes) expect(['done', 'nixl.peer_lost']).toContain(outcome);
      const later = (): Promise<string> =>
        agent.write(mine, remote).then(
          () => 'done',
          (error: NixlError) => error.reason,
        );
      expect(await waitFor('the failure of a later transfer', later, (outcome) => outcome !== 'done', 20_000)).toBe(
        'nixl.peer_lost',
      );
    });

    it(`frees the memory of aborted transfers that have not ended (${times} times)`, {
      timeout: START_MS + times * 20_000,
    }, async () => {
      const agent = await agentOf(kind);
      let before: Resources | undefined;
      for (let time = 1; time <= times; time++) {
        const controller = new AbortController();
        const { child, mine, peer, writes } = await begin(agent, { signal: controller.signal });
        controller.abort(new Error('enough'));
        const outcomes = await Promise.all(writes);
        if (kind !== 'ucx') {
          expect(outcomes).toEqual(Array(3).fill('enough'));
          await expect(mine.release({ timeoutMs: 200 })).rejects.toMatchObject({ reason: 'nixl.deadline' });
        }
        child.kill('SIGKILL');
        await child.exit();
        await within(20_000, 'the release of the memory', mine.release());
        await peer.disconnect();
        if (time === 1) before = resources();
      }
      await expectBaseline(before as Resources, `${kind}, ${times} kills with aborted transfers`, SPARE_MIB);
      expect(await agent.close()).toEqual({ leaked: false });
    });
  });

  describe.each(STATES)('wrong metadata while %s', (state) => {
    it(`is rejected and has no other effect (${times} times)`, { timeout: START_MS + times * 20_000 }, async () => {
      const [agent, other] = [await agentOf(kind), await agentOf(kind, 'other')];
      const [mine, elsewhere] = [await agent.allocate(BYTES), await other.allocate(4096)];
      const { child, ready } = await startPeer(kind, uniqueName('peer'), BYTES);
      const metadata = Buffer.from(ready.metadata, 'base64');
      const peer = await connect(agent, ready);
      const meeting = { agent, mine, remote: peer.memory(ready.descriptor) };
      await expectBlocksMove(meeting, child, 5);
      let before: Resources | undefined;
      for (let time = 1; time <= times; time++) {
        if (time === 2) before = resources();
        await ask(child, { do: 'pattern', seed: time });
        pattern(viewOf(mine), state === 'reading' ? -time : time);
        const { prepared, running } = await enter(state, meeting);
        const garbage = pattern(new Uint8Array(metadata.length), time);
        const cut = metadata.subarray(0, (time * 37) % (metadata.length - 24));
        for (const wrong of [garbage, cut])
          await expect(agent.connect(wrong)).rejects.toMatchObject({ reason: 'nixl.metadata' });
        await expect(agent.connect(await agent.metadata())).rejects.toMatchObject({ reason: 'nixl.own_metadata' });
        const stranger = await agent.connect(await other.metadata());
        expect(() => stranger.memory(ready.descriptor)).toThrow(TypeError);
        const taken = stranger.memory({ ...ready.descriptor, agent: other.name });
        await expect(agent.read(mine.slice(0, 4096), taken.slice(0, 4096))).rejects.toMatchObject({
          reason: 'nixl.range',
        });
        await expectHonest(running, () => expectBlocks(viewOf(mine), time, 'the transfers in flight'));
        expect((await running).filter(({ status }) => status === 'rejected')).toEqual([]);
        await prepared.post();
        await agent.write(mine, meeting.remote);
        expect((await ask(child, { do: 'hash' }))['hash']).toBe(hashOf(viewOf(mine)));
        await agent.read(mine.slice(0, 4096), stranger.memory(elsewhere.descriptor()));
        await prepared.release();
        // After each disconnect the library keeps sockets until the agent ends.
        if (time === times) await stranger.disconnect();
        expect((await connect(agent, ready)).generation).toBe(1);
      }
      await expectBlocksMove(meeting, child, 7);
      await expectBaseline(before as Resources, `${kind}, ${times} times wrong metadata while ${state}`, SPARE_MIB);
    });
  });
}
