import { describe, expect, it } from 'vitest';

import { within } from '../wait.js';
import { agentOf, type Kind, pairOf, pattern, sameBytes, viewOf } from './library.js';

const text = (data: Uint8Array): string => Buffer.from(data).toString();

export function describeNotifications(kind: Kind): void {
  describe('notifications', () => {
    it('arrive in the order of their sender, also empty and large ones', async () => {
      const { a, b, peer } = await pairOf(kind, 4096);
      const sent = ['first', '', 'x'.repeat(200_000), ...Array.from({ length: 500 }, (_, index) => String(index))];
      const received: string[] = [];
      const reading = (async () => {
        for await (const { from, data } of b.notifications({ maxQueued: 7 })) {
          expect(from).toBe(a.name);
          received.push(text(data));
          if (received.length === sent.length) break;
        }
      })();
      for (const message of sent) await peer.notify(message);
      await within(30_000, 'the messages', reading, () => received.length);
      expect(received).toEqual(sent);
    });

    it('are taken at most maxQueued at a time: the next reader receives the others', async () => {
      const { b, peer } = await pairOf(kind, 4096);
      for (let index = 0; index < 20; index++) await peer.notify(String(index));
      const first = b.notifications({ maxQueued: 7 });
      expect(text((await first.next()).value.data)).toBe('0');
      await first.return();
      const next = Number(text((await b.notifications().next()).value.data));
      expect(next).toBeLessThanOrEqual(7);
      // On other transports some may still be in flight.
      if (kind === 'mock') expect(next).toBe(7);
    });

    it.each([4096, 65536, 20 << 20])('of a transfer of %i bytes arrive after its bytes', async (bytes) => {
      const { a, b, mine, theirs, remote } = await pairOf(kind, bytes);
      const messages = b.notifications();
      for (let round = 0; round < 5; round++) {
        pattern(viewOf(mine), round);
        const written = a.write(mine, remote, { notify: Uint8Array.of(round) });
        const { value } = await within(30_000, 'the message', messages.next());
        expect([...value.data]).toEqual([round]);
        expect(sameBytes(viewOf(theirs), viewOf(mine))).toBe(true);
        await written;
      }
    });

    it('can be sent with prepared transfers and blocks, and to the agent itself', async () => {
      const { a, b, mine, remote } = await pairOf(kind, 8192);
      const messages = b.notifications();
      await using prepared = await a.prepare('WRITE', mine, remote);
      await prepared.post({ notify: 'prepared' });
      await prepared.post();
      await a.transferBlocks(
        'WRITE',
        await a.blocks(mine, 4096),
        Int32Array.of(0, 1),
        await a.blocks(remote, 4096),
        Int32Array.of(1, 0),
        { notify: 'blocks' },
      );
      expect([text((await messages.next()).value.data), text((await messages.next()).value.data)]).toEqual([
        'prepared',
        'blocks',
      ]);
      await b.self.notify('to myself');
      expect((await messages.next()).value).toMatchObject({ from: b.name });
    });

    it('have one reader at a time, and another one after it leaves', async () => {
      const { b, peer } = await pairOf(kind, 4096);
      const first = b.notifications();
      const waiting = first.next();
      await expect(b.notifications().next()).rejects.toMatchObject({ reason: 'nixl.notifications_read' });
      await first.return();
      expect(await waiting).toEqual({ done: true, value: undefined });
      await peer.notify('for the second');
      expect(text((await b.notifications().next()).value.data)).toBe('for the second');
    });

    it('end with their signal, and with the agent', async () => {
      const agent = await agentOf(kind);
      const controller = new AbortController();
      const waiting = agent.notifications({ signal: controller.signal }).next();
      controller.abort(new Error('enough'));
      await expect(waiting).rejects.toThrow('enough');
      const last = agent.notifications().next();
      await agent.close();
      expect(await last).toEqual({ done: true, value: undefined });
    });
  });
}
