import { once } from 'node:events';
import { Agent, type IncomingMessage, request } from 'node:http';

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

/** A random generator of numbers from 0 to 1. A seed always gives the same numbers. */
export function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Requests that arrive independently, on average `rate` per second, each of a random group. */
export function arrivals(seed: number, rate: number, seconds: number, groups: number): Arrival[] {
  const random = generator(seed);
  const all: Arrival[] = [];
  for (let at = 0; (at -= Math.log(1 - random()) / rate) < seconds; )
    all.push({ at, group: Math.floor(random() * groups) });
  return all;
}

const FIRST_ID = 10;
const IDS = 990;

// One connection per request: on kept ones the first token waits for the kernel's delayed acknowledgement.
const agent = new Agent({ keepAlive: false });

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
    const prefix = Array.from(
      { length: prefixTokens },
      (_, at) => FIRST_ID + ((at * 7 + group * 131 + (at >> 6) * group) % IDS),
    );
    return [
      ...prefix,
      ...Array.from({ length: suffixTokens }, (_, at) => FIRST_ID + ((index * 37 + at * 11 + (at >> 3) * index) % IDS)),
    ];
  }

  /** Returns the milliseconds to the first event of a streamed answer, and the prompt's cached tokens. */
  async complete(group: number): Promise<{ ms: number; cached: number }> {
    const body = JSON.stringify({
      model: this.model,
      prompt: this.#prompt(group, this.#requests++),
      max_tokens: this.prompts.answerTokens,
      ignore_eos: true,
      stream: true,
      stream_options: { include_usage: true },
    });
    const begin = performance.now();
    const sent = request({
      agent,
      port: this.port,
      host: '127.0.0.1',
      path: '/v1/completions',
      method: 'POST',
      headers: { 'content-type': 'application/json' },
    });
    sent.end(body);
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    let [ms, text] = [0, ''];
    for await (const part of response) {
      if (ms === 0) ms = performance.now() - begin;
      text += String(part);
    }
    if (response.statusCode !== 200 || !text.includes('[DONE]')) throw new Error(`${response.statusCode} ${text}`);
    return { ms, cached: Number(/"cached_tokens":(\d+)/.exec(text)?.[1] ?? 0) };
  }

  /** Waits until the model is served. */
  async waitUntilServed(log: () => string): Promise<void> {
    for (const deadline = Date.now() + 60_000; ; ) {
      if (
        await this.complete(0).then(
          () => true,
          () => false,
        )
      )
        return;
      if (Date.now() > deadline) throw new Error(`no answer from the workers:\n${log()}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  /** Runs `requests` requests of random groups, `concurrency` at a time. Returns the mean and the rate. */
  async closedLoop(concurrency: number, requests: number): Promise<{ ttftMs: number; perSecond: number }> {
    const begin = performance.now();
    const random = generator(requests);
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
    const begin = performance.now();
    const running: ReturnType<Client['complete']>[] = [];
    for (const { at, group } of plan) {
      const left = begin + at * 1000 - performance.now();
      if (left > 0) await new Promise((resolve) => setTimeout(resolve, left));
      running.push(this.complete(group));
    }
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
