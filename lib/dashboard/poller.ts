import type { SourceStates } from './source-states.js';

/** Reads a source again and again, each time a while after the last reading ended. Keeps the last reading. */
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
    const begin = performance.now();
    this.#reading = this.#read();
    await this.#reading;
    if (this.#isClosed) return;
    const delay = Math.max(this.intervalMs / 4, this.intervalMs - (performance.now() - begin));
    this.#timer = setTimeout(() => void this.#next(), delay);
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
