import { once } from 'node:events';
import { Agent, type IncomingMessage, request } from 'node:http';

/** Prompts of groups: those of one begin alike, and each ends as no other. */
export interface Prompts {
  readonly groups: number;
  readonly prefixTokens: number;
  readonly suffixTokens: number;
  readonly answerTokens: number;
}

/** One request of a plan: when it comes, in seconds from the start, and of which group it is. */
export interface Arrival {
  readonly at: number;
  readonly group: number;
}

export interface Sample {
  readonly ttftMs: number;
  readonly p99Ms: number;
  /** Part of the prompts' tokens that workers had. */
  readonly cachedShare: number;
}

/** The same numbers for a seed in every run, from 0 up to 1. */
export function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Requests that come independently of each other, `rate` a second on average, each of any group. */
export function arrivals(seed: number, rate: number, seconds: number, groups: number): Arrival[] {
  const random = generator(seed);
  const all: Arrival[] = [];
  for (let at = 0; (at -= Math.log(1 - random()) / rate) < seconds; )
    all.push({ at, group: Math.floor(random() * groups) });
  return all;
}

const FIRST_ID = 10;
const IDS = 990;

// A connection for each request: on kept ones the frontend's first token waits for the kernel's delayed acknowledgement.
const agent = new Agent({ keepAlive: false });

/** Asks a frontend for completions. */
export class Client {
  #asked = 0;

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

  /** Milliseconds to the first event of a streamed answer, and how many of the prompt's tokens were cached. */
  async ask(group: number): Promise<{ ms: number; cached: number }> {
    const body = JSON.stringify({
      model: this.model,
      prompt: this.#prompt(group, this.#asked++),
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

  /** Waits until it is served. */
  async served(log: () => string): Promise<void> {
    for (const deadline = Date.now() + 60_000; ; ) {
      if (
        await this.ask(0).then(
          () => true,
          () => false,
        )
      )
        return;
      if (Date.now() > deadline) throw new Error(`the workers do not answer:\n${log()}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  /** So many under way at a time, for so many requests in all, each of any group. Gives the mean and how many there were a second. */
  async closed(concurrency: number, requests: number): Promise<{ ttftMs: number; perSecond: number }> {
    const begin = performance.now();
    const random = generator(requests);
    let [left, sum] = [requests, 0];
    const lane = async (): Promise<void> => {
      while (left-- > 0) {
        const { ms } = await this.ask(Math.floor(random() * this.prompts.groups));
        sum += ms;
      }
    };
    await Promise.all(Array.from({ length: concurrency }, lane));
    return { ttftMs: sum / requests, perSecond: requests / ((performance.now() - begin) / 1000) };
  }

  /** Requests come as planned whatever becomes of them; those that still run at the end are waited for. */
  async open(plan: readonly Arrival[]): Promise<Sample> {
    const begin = performance.now();
    const running: ReturnType<Client['ask']>[] = [];
    for (const { at, group } of plan) {
      const left = begin + at * 1000 - performance.now();
      if (left > 0) await new Promise((resolve) => setTimeout(resolve, left));
      running.push(this.ask(group));
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
