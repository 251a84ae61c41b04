import { randomNumbers } from '../../lib/planner/core/simulate/random.js';
import { median } from './stats.js';
import { sendInTime, streamedCompletion, tokenId, waitUntilServed } from './streamed-completion.js';

/** One kind of request. Prompts of a group share their first tokens; `groups` 0: no two prompts share any. */
export interface RequestKind {
  readonly groups: number;
  readonly sharedTokens: number;
  readonly uniqueTokens: number;
  readonly answerTokens: number;
}

/** Short chats, and long prompts among them. */
export interface MixedKinds {
  readonly chat: RequestKind;
  readonly long: RequestKind;
}
export type KindName = keyof MixedKinds;

interface MixedArrival {
  /** Milliseconds from the start. */
  readonly at: number;
  readonly kind: KindName;
}

/** Requests of both kinds that arrive independently, at these rates per second, at least one of each. */
export function mixedArrivals(
  seed: number,
  rates: Readonly<Record<KindName, number>>,
  seconds: number,
): MixedArrival[] {
  const random = randomNumbers(seed);
  const all: MixedArrival[] = [];
  for (const kind of ['chat', 'long'] as const) {
    const before = all.length;
    for (let at = 0; (at -= (Math.log(1 - random()) / rates[kind]) * 1000) < seconds * 1000; ) all.push({ at, kind });
    if (all.length === before) all.push({ at: seconds * 250, kind });
  }
  return all.sort((a, b) => a.at - b.at);
}

/** The times of one answer. */
export interface AnswerTimes {
  readonly ttftMs: number;
  readonly totalMs: number;
  /** Between two events of the stream. */
  readonly gapsMs: readonly number[];
  readonly cachedTokens: number;
}

/** What one run of a plan has shown. */
export interface MixedSample {
  readonly chatTtftMs: number;
  readonly chatTtftP99Ms: number;
  readonly chatGapMs: number;
  readonly chatGapP99Ms: number;
  readonly longTtftMs: number;
  readonly requests: number;
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
const p99 = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length * 0.99)] as number;

/** Requests completions of both kinds from a frontend. */
export class MixedClient {
  #requests = 0;
  readonly #random = randomNumbers(7);

  constructor(
    private readonly port: number,
    private readonly model: string,
    private readonly kinds: MixedKinds,
  ) {}

  #prompt({ groups, sharedTokens, uniqueTokens }: RequestKind): number[] {
    const group = Math.floor(this.#random() * groups);
    const index = this.#requests++;
    const shared = groups === 0 ? 0 : sharedTokens;
    return [
      ...Array.from({ length: shared }, (_, at) => tokenId(at * 7 + group * 131 + (at >> 6) * (group + 1))),
      ...Array.from({ length: uniqueTokens }, (_, at) => tokenId(index * 37 + at * 11 + (at >> 3) * (index + 1))),
    ];
  }

  /** @throws Error unless the answer is complete */
  async complete(name: KindName): Promise<AnswerTimes> {
    const kind = this.kinds[name];
    const { textMs, totalMs, cachedTokens } = await streamedCompletion(this.port, {
      model: this.model,
      prompt: this.#prompt(kind),
      answerTokens: kind.answerTokens,
    });
    const [ttftMs] = textMs;
    if (ttftMs === undefined) throw new Error('an answer without text');
    const gapsMs = textMs.slice(1).map((ms, index) => ms - (textMs[index] as number));
    return { ttftMs, totalMs, gapsMs, cachedTokens };
  }

  /** Waits until the model answers. */
  waitUntilServed(log: () => string): Promise<void> {
    return waitUntilServed(() => this.complete('chat'), log);
  }

  /** The times of `count` requests of a kind, one after the other: medians. */
  async alone(name: KindName, count: number): Promise<{ ttftMs: number; totalMs: number }> {
    const all: AnswerTimes[] = [];
    while (all.length < count) all.push(await this.complete(name));
    return { ttftMs: median(all.map(({ ttftMs }) => ttftMs)), totalMs: median(all.map(({ totalMs }) => totalMs)) };
  }

  /** Sends the requests of a plan at their times, also if earlier ones are late. Waits for all answers. */
  async run(plan: readonly MixedArrival[]): Promise<MixedSample> {
    const running: Record<KindName, Promise<AnswerTimes>[]> = { chat: [], long: [] };
    await sendInTime(
      plan,
      ({ at }) => at,
      ({ kind }) => running[kind].push(this.complete(kind)),
    );
    const [chats, longs] = await Promise.all([Promise.all(running.chat), Promise.all(running.long)]);
    const gaps = chats.flatMap(({ gapsMs }) => gapsMs);
    const firsts = chats.map(({ ttftMs }) => ttftMs);
    return {
      chatTtftMs: mean(firsts),
      chatTtftP99Ms: p99(firsts),
      chatGapMs: mean(gaps),
      chatGapP99Ms: p99(gaps),
      longTtftMs: mean(longs.map(({ ttftMs }) => ttftMs)),
      requests: plan.length,
    };
  }
}
