import { setImmediate as turn } from 'node:timers/promises';

import { type Client, DynamoError, type RequestOptions } from 'dynamo-node';

import type { NumbersItem, NumbersRequest } from './worker-protocol.js';

export interface Outcome {
  readonly call: number;
  /** In `performance.now()`. */
  readonly startedAt: number;
  readonly endedAt: number;
  readonly items: number;
  readonly error: unknown;
}

export interface TrafficOptions extends RequestOptions {
  readonly items?: number;
  readonly paceMs?: number;
  /** The number of concurrent calls. */
  readonly lanes?: number;
}

/** Calls for numbers, in sequence in each lane, until it is ended. */
export class Traffic {
  readonly outcomes: Outcome[] = [];
  #going = true;
  #calls = 0;
  readonly #lanes: Promise<void>[];

  constructor(
    private readonly client: Client<NumbersRequest, NumbersItem>,
    private readonly options: TrafficOptions = {},
  ) {
    this.#lanes = Array.from({ length: options.lanes ?? 4 }, () => this.#lane());
  }

  async #lane(): Promise<void> {
    const { items = 5, paceMs = 2, lanes: _, ...options } = this.options;
    while (this.#going) {
      const call = this.#calls++;
      const startedAt = performance.now();
      let seen = 0;
      let failure: unknown;
      try {
        for await (const item of this.client.generate({ call, items, paceMs }, options)) {
          if (item.call !== call || item.index !== seen)
            throw new Error(`call ${call}: expected item ${seen}, got ${JSON.stringify(item)}`);
          seen += 1;
        }
        if (seen !== items) throw new Error(`call ${call}: ended whole with ${seen} of ${items} items`);
      } catch (error) {
        failure = error;
      }
      this.outcomes.push({ call, startedAt, endedAt: performance.now(), items: seen, error: failure });
      await turn();
    }
  }

  /** Waits for the calls in flight, and returns the outcomes of all. */
  async end(): Promise<readonly Outcome[]> {
    this.#going = false;
    await Promise.all(this.#lanes);
    return this.outcomes;
  }

  get whole(): number {
    return this.outcomes.filter(({ error }) => error === undefined).length;
  }
}

/** Each distinct failure, as text. */
export function failures(outcomes: readonly Outcome[]): string[] {
  const texts = outcomes.flatMap(({ error, items }) => {
    if (error === undefined) return [];
    const place = items === 0 ? 'before the first item' : 'after an item';
    return [`${place}: ${DynamoError.is(error) ? `${error.code} ${error.kind} ${error.reason}` : String(error)}`];
  });
  return [...new Set(texts)].sort();
}
