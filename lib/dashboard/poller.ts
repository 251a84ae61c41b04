import type { SourceStates } from './source-states.js';
import { msToTick } from './ticks.js';

/** Reads a source at each tick of an interval, but one reading after the other. Keeps the last reading. */
export class Poller<T> {
  #last: T | undefined;
  #hasFailed = false;
  #timer: NodeJS.Timeout | undefined;
  #reading: Promise<void> | undefined;
  #isClosed = false;

  constructor(
    private readonly name: string,
    private readonly states: SourceStates,
    private readonly intervalMs: number,
    private readonly readSource: () => Promise<T>,
  ) {
    states.set(name, 'starting');
  }

  /** The last reading; undefined before the first one. */
  get last(): T | undefined {
    return this.#last;
  }

  /** Whether the last try has failed, so that the last reading is old. */
  get isOld(): boolean {
    return this.#hasFailed;
  }

  /** Reads once, then goes on in the background. Never rejects. */
  async start(): Promise<void> {
    await this.#next();
  }

  async #next(): Promise<void> {
    this.#reading = this.#read();
    await this.#reading;
    if (this.#isClosed) return;
    this.#timer = setTimeout(() => void this.#next(), msToTick(this.intervalMs));
  }

  async #read(): Promise<void> {
    const value = await this.states.of(this.name, this.readSource);
    this.#hasFailed = value === undefined;
    if (value !== undefined) this.#last = value;
  }

  /** Ends. Waits for a reading that runs. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#reading;
  }
}
