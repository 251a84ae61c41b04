import type { DashboardSnapshot, HistoryView } from '../../view.js';

/** `live`: data arrive. `lost`: it connects again by itself. `ended`: the server has ended; it tries again later. */
export type ConnectionState = 'connecting' | 'live' | 'lost' | 'ended';

/** What a connection calls. */
export interface ConnectionEvents {
  history(history: HistoryView): void;
  snapshot(snapshot: DashboardSnapshot): void;
  state(state: ConnectionState): void;
}

const RETRY_MS = 2000;
const RETRY_ENDED_MS = 5000;

/** The stream of snapshots. It reconnects by itself, also to a server that was started again. */
export class Connection {
  readonly #events: ConnectionEvents;
  #source: EventSource | undefined;
  #hasEnded = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** In the time of `performance.now()`. */
  #lastAt: number | undefined;

  constructor(events: ConnectionEvents) {
    this.#events = events;
    this.open();
  }

  /** The time since the last snapshot arrived. It needs no common clock with the server. */
  get ageMs(): number | undefined {
    return this.#lastAt === undefined ? undefined : performance.now() - this.#lastAt;
  }

  /** Connects now. */
  open(): void {
    this.#close();
    if (!this.#hasEnded) this.#events.state(this.#lastAt === undefined ? 'connecting' : 'lost');
    const source = new EventSource('/api/events');
    this.#source = source;
    source.addEventListener('history', ({ data }) => this.#events.history(JSON.parse(data)));
    source.addEventListener('snapshot', ({ data }) => {
      this.#lastAt = performance.now();
      this.#hasEnded = false;
      this.#events.state('live');
      this.#events.snapshot(JSON.parse(data));
    });
    source.addEventListener('end', () => {
      this.#hasEnded = true;
      this.#events.state('ended');
      this.#retryIn(RETRY_ENDED_MS);
    });
    source.addEventListener('error', () => {
      if (this.#hasEnded) return this.#retryIn(RETRY_ENDED_MS);
      this.#events.state('lost');
      // A browser retries after a lost connection, but not after an answer such as 503.
      if (source.readyState === EventSource.CLOSED) this.#retryIn(RETRY_MS);
    });
  }

  #retryIn(ms: number): void {
    this.#close();
    this.#timer = setTimeout(() => this.open(), ms);
  }

  #close(): void {
    clearTimeout(this.#timer);
    this.#source?.close();
  }
}
