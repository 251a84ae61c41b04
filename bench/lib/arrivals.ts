import { randomNumbers } from '../../lib/planner/core/simulate/random.js';
import { sendInTime, streamedCompletion, tokenId, waitUntilServed } from './streamed-completion.js';

/** Prompts in groups. The prompts of a group share a prefix, and each prompt has a unique suffix. */
export interface Prompts {
  readonly groups: number;
  readonly prefixTokens: number;
  readonly suffixTokens: number;
  readonly answerTokens: number;
}

/** One request of a plan. */
export interface Arrival {
  /** Seconds from the start. */
  readonly at: number;
  readonly group: number;
}

export interface Sample {
  readonly ttftMs: number;
  readonly p99Ms: number;
  /** Share of the prompts' tokens that workers had cached. */
  readonly cachedShare: number;
}

/** Requests that arrive independently, on average `rate` per second, each of a random group. */
export function arrivals(seed: number, rate: number, seconds: number, groups: number): Arrival[] {
  const random = randomNumbers(seed);
  const all: Arrival[] = [];
  for (let at = 0; (at -= Math.log(1 - random()) / rate) < seconds; )
    all.push({ at, group: Math.floor(random() * groups) });
  return all;
}

/** Requests completions from a frontend. */
export class Client {
  #requests = 0;

  constructor(
    private readonly port: number,
    private readonly model: string,
    private readonly prompts: Prompts,
  ) {}

  #prompt(group: number, index: number): number[] {
    const { prefixTokens, suffixTokens } = this.prompts;
    return [
      ...Array.from({ length: prefixTokens }, (_, at) => tokenId(at * 7 + group * 131 + (at >> 6) * group)),
      ...Array.from({ length: suffixTokens }, (_, at) => tokenId(index * 37 + at * 11 + (at >> 3) * index)),
    ];
  }

  /** Returns the milliseconds to the first event of a streamed answer, and the prompt's cached tokens. */
  async complete(group: number): Promise<{ ms: number; cached: number }> {
    const { firstPartMs, cachedTokens } = await streamedCompletion(this.port, {
      model: this.model,
      prompt: this.#prompt(group, this.#requests++),
      answerTokens: this.prompts.answerTokens,
    });
    return { ms: firstPartMs, cached: cachedTokens };
  }

  /** Waits until the model is served. */
  waitUntilServed(log: () => string): Promise<void> {
    return waitUntilServed(() => this.complete(0), log);
  }

  /** Runs `requests` requests of random groups, `concurrency` at a time. Returns the mean and the rate. */
  async closedLoop(concurrency: number, requests: number): Promise<{ ttftMs: number; perSecond: number }> {
    const begin = performance.now();
    const random = randomNumbers(requests);
    let [remaining, sum] = [requests, 0];
    const lane = async (): Promise<void> => {
      while (remaining-- > 0) {
        const { ms } = await this.complete(Math.floor(random() * this.prompts.groups));
        sum += ms;
      }
    };
    await Promise.all(Array.from({ length: concurrency }, lane));
    return { ttftMs: sum / requests, perSecond: requests / ((performance.now() - begin) / 1000) };
  }

  /** Sends the requests of a plan at their times, also if earlier ones are late. Waits for all answers. */
  async openLoop(plan: readonly Arrival[]): Promise<Sample> {
    const running: ReturnType<Client['complete']>[] = [];
    await sendInTime(
      plan,
      ({ at }) => at * 1000,
      ({ group }) => running.push(this.complete(group)),
    );
    const all = await Promise.all(running);
    const times = all.map(({ ms }) => ms).sort((a, b) => a - b);
    const { prefixTokens, suffixTokens } = this.prompts;
    return {
      ttftMs: times.reduce((sum, ms) => sum + ms, 0) / times.length,
      p99Ms: times[Math.floor(times.length * 0.99)] as number,
      cachedShare: all.reduce((sum, { cached }) => sum + cached, 0) / (all.length * (prefixTokens + suffixTokens)),
    };
  }
}
