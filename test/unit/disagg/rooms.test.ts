import { describe, expect, it, vi } from 'vitest';
import { HandoffError } from '../../../lib/disagg/errors.js';
import type { HandoffParams } from '../../../lib/disagg/handoff.js';
import { Rooms } from '../../../lib/disagg/rooms.js';

const offer = { kv_handoff: { offer: 'one' } } as unknown as HandoffParams;
const never = new AbortController().signal;
const failed = (): HandoffError => new HandoffError('disagg.prefill_failed', 'no', 'test');

describe('Rooms', () => {
  it('delivers an offer to the worker that waits', async () => {
    const rooms = new Rooms(1000);
    const waiting = rooms.wait('1', never);
    rooms.settle('2', offer);
    rooms.signal('1');
    rooms.settle('1', offer);
    expect([await waiting, rooms.waiting]).toEqual([offer, 0]);
  });

  it('delivers an offer that came first', async () => {
    const rooms = new Rooms(1000);
    rooms.signal('1');
    rooms.settle('1', offer);
    expect(await rooms.wait('1', never)).toBe(offer);
    expect(rooms.waiting).toBe(0);
  });

  it('rejects with the failure of the prefill, before and after the wait', async () => {
    const rooms = new Rooms(1000);
    const waiting = rooms.wait('1', never);
    rooms.settle('1', failed());
    await expect(waiting).rejects.toMatchObject({ reason: 'disagg.prefill_failed' });
    rooms.signal('2');
    rooms.settle('2', failed());
    await expect(rooms.wait('2', never)).rejects.toMatchObject({ reason: 'disagg.prefill_failed' });
    expect(rooms.waiting).toBe(0);
  });

  it('aborts the signal of the prefill when the waiting worker goes away', async () => {
    const rooms = new Rooms(1000);
    const prefill = rooms.signal('1');
    const gone = new AbortController();
    const waiting = rooms.wait('1', gone.signal);
    gone.abort(new Error('gone'));
    await expect(waiting).rejects.toThrow('gone');
    expect(prefill.aborted).toBe(true);
    rooms.settle('1', offer);
    expect(rooms.waiting).toBe(0);
  });

  it('rejects a second worker in a room', async () => {
    const rooms = new Rooms(1000);
    const first = rooms.wait('1', never);
    await expect(rooms.wait('1', never)).rejects.toMatchObject({ reason: 'disagg.handoff' });
    rooms.settle('1', offer);
    expect(await first).toBe(offer);
  });

  it('keeps the offer of an abandoned room from the worker that comes later', async () => {
    const rooms = new Rooms(1000);
    rooms.signal('1');
    rooms.settle('1', offer);
    expect(rooms.abandon('1')).toBe(offer);
    expect(rooms.abandon('2')).toBeUndefined();
    expect(rooms.signal('2').aborted).toBe(true);
    rooms.settle('2', offer);
    expect(rooms.abandon('2')).toBeUndefined();
  });

  it('forgets an outcome for which no worker has come after keepMs', async () => {
    vi.useFakeTimers();
    try {
      const rooms = new Rooms(1000);
      const before = rooms.signal('1');
      rooms.settle('1', offer);
      vi.advanceTimersByTime(999);
      expect(rooms.signal('1')).toBe(before);
      vi.advanceTimersByTime(1);
      expect(rooms.signal('1')).not.toBe(before);
    } finally {
      vi.useRealTimers();
    }
  });

  it('fails every wait when it is closed', async () => {
    const rooms = new Rooms(1000);
    const waits = ['1', '2'].map((id) => rooms.wait(id, never));
    rooms.close(failed());
    for (const waiting of waits) await expect(waiting).rejects.toMatchObject({ reason: 'disagg.prefill_failed' });
    expect(rooms.waiting).toBe(0);
  });

  it('rejects a wait in a room whose request was given up', async () => {
    const rooms = new Rooms(1000);
    rooms.abandon('1');
    await expect(rooms.wait('1', never)).rejects.toMatchObject({ reason: 'disagg.handoff' });
    expect(rooms.waiting).toBe(0);
  });
});
