import { createHash } from 'node:crypto';
import { type MemoryDescriptor, type NixlAgent, NixlError, type NixlPeer } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';

import { Child } from '../child.js';
import { waitFor, within } from '../wait.js';
import { agentOf, type Kind, pattern, uniqueName, viewOf } from './library.js';

interface Ready {
  readonly metadata: string;
  readonly descriptor: MemoryDescriptor;
}

async function startPeer(kind: Kind, name: string, bytes: number): Promise<{ child: Child; ready: Ready }> {
  const env = kind === 'tcp' ? { UCX_TLS: 'tcp' } : {};
  const child = Child.program('test/helpers/nixl/programs/peer.ts', [kind, name, String(bytes)], { env: { NIXL_LOG_LEVEL: 'FATAL', UCX_LOG_LEVEL: 'fatal', ...env } });
  onTestFinished(() => child.stop());
  return { child, ready: (await child.event('ready', {}, 30_000)) as unknown as Ready };
}

async function told(child: Child, command: { do: string; [field: string]: unknown }): Promise<Record<string, unknown>> {
  child.send(command);
  return child.event(command.do, {}, 20_000);
}

const connect = (agent: NixlAgent, ready: Ready): Promise<NixlPeer> => agent.connect(Buffer.from(ready.metadata, 'base64'));

const hashOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

const BYTES = 24 << 20;

/** What the peer's end meets: nothing under way, a prepared transfer, transfers under way. */
const STATES = ['connected', 'prepared', 'writing', 'reading'] as const;

export function describeProcesses(kind: Kind, times: number): void {
  describe('two processes', () => {
    it('read, write and notify in both directions', { timeout: 60_000 }, async () => {
      const agent = await agentOf(kind);
      const mine = await agent.allocate(BYTES);
      const { child, ready } = await startPeer(kind, uniqueName('peer'), BYTES);
      const peer = await connect(agent, ready);
      const remote = peer.memory(ready.descriptor);
      pattern(viewOf(mine), 1);
      await agent.write(mine, remote);
      expect((await told(child, { do: 'hash' }))['hash']).toBe(hashOf(viewOf(mine)));
      await told(child, { do: 'pattern', seed: 2 });
      await agent.read(mine, remote);
      expect(hashOf(viewOf(mine))).toBe((await told(child, { do: 'hash' }))['hash']);
      await told(child, { do: 'connect', metadata: Buffer.from(await agent.metadata()).toString('base64') });
      await told(child, { do: 'pattern', seed: 3 });
      const messages = agent.notifications();
      await told(child, { do: 'write', descriptor: mine.descriptor(), notify: 'written' });
      expect(Buffer.from((await within(10_000, 'the message', messages.next())).value.data).toString()).toBe('written');
      expect(hashOf(viewOf(mine))).toBe((await told(child, { do: 'hash' }))['hash']);
      child.send({ do: 'receive' });
      await peer.notify('thanks');
      expect(await child.event('receive')).toMatchObject({ from: agent.name, text: 'thanks' });
      expect(await told(child, { do: 'close' })).toMatchObject({ leaked: false });
    });
  });

  describe.each(STATES)('a peer killed while it is %s', (state) => {
    it(`fails what is under way, and is found again under its name (${times} times)`, { timeout: 30_000 + times * 20_000 }, async () => {
      const agent = await agentOf(kind);
      const mine = await agent.allocate(BYTES);
      const name = uniqueName('killed');
      for (let time = 1; time <= times; time++) {
        const { child, ready } = await startPeer(kind, name, BYTES);
        const peer = await connect(agent, ready);
        expect(peer.generation).toBe(time);
        const remote = peer.memory(ready.descriptor);
        const prepared = await agent.prepare('WRITE', mine.slice(0, 4096), remote.slice(0, 4096));
        if (state !== 'connected') await prepared.post();
        const moving = state === 'writing' || state === 'reading';
        const move = (): Promise<unknown> => (state === 'reading' ? agent.read(mine, remote) : agent.write(mine, remote));
        const running: Promise<PromiseSettledResult<unknown>[]> = moving ? Promise.allSettled([move(), move(), move()]) : Promise.resolve([]);
        child.kill('SIGKILL');
        await child.exit();
        const outcomes = await within(20_000, 'the end of what was under way', running);
        for (const outcome of outcomes) if (outcome.status === 'rejected') expect(outcome.reason).toBeInstanceOf(NixlError);
        // The library notices it a moment later.
        const error = await waitFor(
          'the failure of a transfer with a dead peer',
          () => move().then(() => undefined, (reason: NixlError) => reason),
          (reason) => reason !== undefined,
          20_000,
        );
        expect(error).toMatchObject({ class: 'Unavailable', retryable: true });
        await expect(prepared.post({ timeoutMs: 10_000 })).rejects.toBeInstanceOf(NixlError);
      }
      const { child, ready } = await startPeer(kind, name, BYTES);
      const peer = await connect(agent, ready);
      pattern(viewOf(mine), 9);
      await agent.write(mine, peer.memory(ready.descriptor));
      expect((await told(child, { do: 'hash' }))['hash']).toBe(hashOf(viewOf(mine)));
    });
  });

  describe('a peer that is stopped', () => {
    it('delays a transfer at most until its deadline, and nothing else', { timeout: 60_000 }, async () => {
      const agent = await agentOf(kind);
      const mine = await agent.allocate(BYTES);
      const { child, ready } = await startPeer(kind, uniqueName('stopped'), BYTES);
      const peer = await connect(agent, ready);
      const remote = peer.memory(ready.descriptor);
      await agent.write(mine, remote);
      child.kill('SIGSTOP');
      const writing = agent.write(mine, remote, { timeoutMs: 300, notify: 'awake' }).then(() => 'done', (error: NixlError) => error.reason);
      const local = await agent.allocate(4096);
      await within(5000, 'a transfer within the agent', agent.write(local, mine.slice(0, 4096)));
      expect(['done', 'nixl.deadline']).toContain(await writing);
      child.kill('SIGCONT');
      expect(await told(child, { do: 'connect', metadata: Buffer.from(await agent.metadata()).toString('base64') })).toMatchObject({ generation: 1 });
      pattern(viewOf(mine), 5);
      await within(10_000, 'a transfer with the peer that goes on', agent.write(mine, remote));
      expect((await told(child, { do: 'hash' }))['hash']).toBe(hashOf(viewOf(mine)));
    });
  });
}
