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

    it('that a reader leaves behind are read by the next reader, none of them lost', async () => {
      const { b, peer } = await pairOf(kind, 4096);
      const sent = Array.from({ length: 20 }, (_, index) => String(index));
      for (const message of sent) await peer.notify(message);
      const received: string[] = [];
      while (received.length < sent.length) {
        await using reader = b.notifications({ maxQueued: 7 });
        for (let count = 0; count < 2; count++) received.push(text((await reader.next()).value.data));
      }
      expect(received).toEqual(sent);
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

    it('have one reader without a filter at a time, and another one after it leaves', async () => {
      const { b, peer } = await pairOf(kind, 4096);
      const first = b.notifications();
      const waiting = first.next();
      await expect(b.notifications().next()).rejects.toMatchObject({ reason: 'nixl.notifications_read' });
      await first.return();
      expect(await waiting).toEqual({ done: true, value: undefined });
      await peer.notify('for the second');
      expect(text((await b.notifications().next()).value.data)).toBe('for the second');
    });

    it('go to every reader whose filter accepts them, and the others to the reader without a filter', async () => {
      const { a, b, peer } = await pairOf(kind, 4096);
      const readers = {
        beats: b.notifications({ prefix: 'HB:' }),
        bytes: b.notifications({ prefix: Uint8Array.of(0x48, 0x42) }),
        long: b.notifications({ matches: ({ data }) => data.byteLength > 5 }),
        mine: b.notifications({ from: b.name }),
        rest: b.notifications(),
      };
      await peer.notify('HB:1');
      await peer.notify('done 7');
      await peer.notify('HB:22222');
      await peer.notify('x');
      await b.self.notify('self');
      const read = async (name: keyof typeof readers, count: number): Promise<string[]> => {
        const texts: string[] = [];
        while (texts.length < count) texts.push(text((await readers[name].next()).value.data));
        return texts;
      };
      expect(
        await Promise.all([read('beats', 2), read('bytes', 2), read('long', 2), read('mine', 1), read('rest', 1)]),
      ).toEqual([['HB:1', 'HB:22222'], ['HB:1', 'HB:22222'], ['done 7', 'HB:22222'], ['self'], ['x']]);
      const ends = Object.values(readers).map((reader) => reader.next());
      await readers.beats.return();
      expect(await ends[0]).toEqual({ done: true, value: undefined });
      await peer.notify('HB:3');
      expect(text((await ends[1])?.value.data)).toBe('HB:3');
      await b.close();
      for (const end of ends.slice(2)) expect(await end).toEqual({ done: true, value: undefined });
      await a.close();
    });

    it('that no filter accepts wait for a later filter, in their order', async () => {
      const { b, peer } = await pairOf(kind, 4096);
      const beats = b.notifications({ prefix: 'HB:' });
      for (const message of ['id:1', 'other', 'id:2', 'HB:1']) await peer.notify(message);
      expect(text((await beats.next()).value.data)).toBe('HB:1');
      const ids = b.notifications({ prefix: 'id:' });
      await peer.notify('id:3');
      for (const expected of ['id:1', 'id:2', 'id:3']) expect(text((await ids.next()).value.data)).toBe(expected);
      expect(text((await b.notifications().next()).value.data)).toBe('other');
    });

    it('beyond maxQueued of a reader that does not read are dropped, which its next read reports', async () => {
      const { b, peer } = await pairOf(kind, 4096);
      const slow = b.notifications({ prefix: 'slow', maxQueued: 4 });
      const last = b.notifications({ prefix: 'last' });
      for (let index = 0; index < 10; index++) await peer.notify(`slow ${index}`);
      await peer.notify('last');
      expect(text((await last.next()).value.data)).toBe('last');
      await expect(slow.next()).rejects.toMatchObject({
        reason: 'nixl.notifications_lost',
        code: 'DYN_CAPACITY_EXHAUSTED',
        details: { lost: 6 },
      });
      for (let index = 6; index < 10; index++) expect(text((await slow.next()).value.data)).toBe(`slow ${index}`);
      await peer.notify('slow again');
      expect(text((await slow.next()).value.data)).toBe('slow again');
    });

    it('of a reader whose filter throws end with its error, and other readers continue', async () => {
      const { b, peer } = await pairOf(kind, 4096);
      const faulty = b.notifications({
        matches: ({ data }) => {
          if (text(data) === 'bad') throw new Error('a bug');
          return text(data) === 'good';
        },
      });
      const wrong = b.notifications({ matches: (() => Promise.resolve(true)) as never });
      const rest = b.notifications();
      for (const message of ['good', 'bad', 'good']) await peer.notify(message);
      for (const expected of ['bad', 'good']) expect(text((await rest.next()).value.data)).toBe(expected);
      expect(text((await faulty.next()).value.data)).toBe('good');
      await expect(faulty.next()).rejects.toThrow('a bug');
      expect(await faulty.next()).toEqual({ done: true, value: undefined });
      await expect(wrong.next()).rejects.toThrow(
        'agent.notifications options.matches: expected a boolean result, got an object',
      );
      await expect((async () => b.notifications({ prefix: 5 as never }))()).rejects.toThrow(
        'agent.notifications options.prefix: expected a Uint8Array or a string, got 5',
      );
    });

    it('of one reader do not end with the deadline, the signal or the end of another', async () => {
      const { b, peer } = await pairOf(kind, 4096);
      const controller = new AbortController();
      const patient = b.notifications({ prefix: 'p' });
      const waiting = patient.next();
      const hurried = b.notifications({ prefix: 'h', timeoutMs: 20 });
      await expect(hurried.next()).rejects.toMatchObject({ reason: 'nixl.deadline' });
      const aborted = b.notifications({ prefix: 'a', signal: controller.signal, background: true }).next();
      controller.abort(new Error('enough'));
      await expect(aborted).rejects.toThrow('enough');
      const left = hurried.next();
      await hurried.return();
      expect(await left).toEqual({ done: true, value: undefined });
      await peer.notify('patience');
      expect(text((await waiting).value.data)).toBe('patience');
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
