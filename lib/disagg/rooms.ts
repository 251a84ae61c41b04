import { RequestCancelled } from '../runtime/context.js';
import { HandoffError } from './errors.js';
import type { HandoffParams } from './handoff.js';

type Outcome = HandoffParams | HandoffError;

interface Room {
  /** Aborted when the decode worker no longer waits. */
  readonly abandoned: AbortController;
  outcome?: Outcome;
  deliver?: (outcome: Outcome) => void;
  timer?: NodeJS.Timeout;
}

/**
 * Rendezvous of requests whose prefill and decode start together. Either side may come first. A room has one prefill
 * and one decode worker. It ends when the outcome was delivered, or `keepMs` after one of them has left.
 */
export class Rooms {
  readonly #rooms = new Map<string, Room>();

  constructor(private readonly keepMs: number) {}

  /** Rooms in which a decode worker waits. */
  get waiting(): number {
    return [...this.#rooms.values()].filter(({ deliver }) => deliver !== undefined).length;
  }

  #enter(id: string): Room {
    let room = this.#rooms.get(id);
    if (room === undefined) this.#rooms.set(id, (room = { abandoned: new AbortController() }));
    return room;
  }

  #leave(id: string, room: Room): void {
    clearTimeout(room.timer);
    if (this.#rooms.get(id) === room) this.#rooms.delete(id);
  }

  /** Aborted when the decode worker that waits in the room goes away. */
  signal(id: string): AbortSignal {
    return this.#enter(id).abandoned.signal;
  }

  /** Waits for the outcome. `signal` is that of the decode worker's request. */
  wait(id: string, signal: AbortSignal): Promise<HandoffParams> {
    const room = this.#enter(id);
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.abandon(id);
        reject(signal.reason);
      };
      const deliver = (outcome: Outcome): void => {
        signal.removeEventListener('abort', onAbort);
        this.#leave(id, room);
        if (outcome instanceof HandoffError) reject(outcome);
        else resolve(outcome);
      };
      if (room.outcome !== undefined) return deliver(room.outcome);
      if (room.abandoned.signal.aborted)
        return reject(new HandoffError('disagg.handoff', `room ${id}: its request was cancelled`, 'offers.wait'));
      if (room.deliver !== undefined)
        return reject(new HandoffError('disagg.handoff', `room ${id}: another worker waits in it`, 'offers.wait'));
      if (signal.aborted) return onAbort();
      room.deliver = deliver;
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }

  /** The decode worker of a room has gone, or will not come. Returns the offer that it does not take, if any. */
  abandon(id: string): HandoffParams | undefined {
    const room = this.#enter(id);
    room.abandoned.abort(new RequestCancelled('stopped'));
    delete room.deliver;
    // A prefill that comes later learns it too.
    this.#keep(id, room);
    return room.outcome instanceof HandoffError ? undefined : room.outcome;
  }

  /** Sets the outcome of a room. Without effect after the decode worker has gone. */
  settle(id: string, outcome: Outcome): void {
    const room = this.#enter(id);
    if (room.outcome !== undefined || room.abandoned.signal.aborted) return;
    room.outcome = outcome;
    if (room.deliver !== undefined) room.deliver(outcome);
    else this.#keep(id, room);
  }

  #keep(id: string, room: Room): void {
    clearTimeout(room.timer);
    room.timer = setTimeout(() => this.#leave(id, room), this.keepMs).unref();
  }

  /** Fails every wait. */
  close(error: HandoffError): void {
    for (const [id, room] of [...this.#rooms]) {
      this.settle(id, error);
      this.#leave(id, room);
    }
  }
}
