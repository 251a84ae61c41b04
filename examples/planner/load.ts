// A load of independent users, and how it was answered.

/** A request of the load. */
export interface Answer {
  /** When it arrived, from the start of the load. */
  readonly atMs: number;
  /** Infinity if it failed. */
  readonly ttftMs: number;
  readonly itlMs: number;
  /** Why it failed. */
  readonly error?: string;
}

/** Seconds and requests per second of each part of a burst. */
export const PARTS = [
  [5, 1.5],
  [15, 10],
  [35, 1.5],
] as const;

export const DURATION_MS = PARTS.reduce((sum, [seconds]) => sum + seconds * 1000, 0);

const TOKENS = 50;

/** When requests arrive: the same times in each run, with the gaps of independent users. */
export function arrivals(): number[] {
  let seed = 4711;
  const random = (): number => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed / 2_147_483_647;
  };
  const times: number[] = [];
  let start = 0;
  for (const [seconds, rate] of PARTS) {
    const end = start + seconds * 1000;
    const gap = (): number => (-Math.log(random()) * 1000) / rate;
    for (let at = start + gap(); at < end; at += gap()) times.push(at);
    start = end;
  }
  return times;
}

/** Sends each request at its time, and waits for all answers. */
export async function burst(url: string): Promise<Answer[]> {
  const startMs = performance.now();
  const answers = arrivals().map(async (atMs) => {
    await new Promise((resolve) => setTimeout(resolve, startMs + atMs - performance.now()));
    return ask(url, atMs);
  });
  return Promise.all(answers);
}

async function ask(url: string, atMs: number): Promise<Answer> {
  const prompt = { model: 'mocked', prompt: 'What is a planner?', max_tokens: TOKENS, ignore_eos: true };
  try {
    const response = await fetch(`${url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...prompt, nvext: { extra_fields: ['timing'] } }),
    });
    if (!response.ok) throw new Error(`status ${response.status}: ${await response.text()}`);
    const { usage, nvext } = (await response.json()) as Completion;
    if (usage.completion_tokens !== TOKENS) throw new Error(`only ${usage.completion_tokens} of ${TOKENS} tokens`);
    const { ttft_ms: ttftMs, total_time_ms: totalMs } = nvext.timing;
    return { atMs, ttftMs, itlMs: (totalMs - ttftMs) / (TOKENS - 1) };
  } catch (error) {
    return { atMs, ttftMs: Infinity, itlMs: Infinity, error: String(error) };
  }
}

/** What the frontend measured is part of its answer. Random tokens are no text, so a stream would show nothing. */
interface Completion {
  readonly usage: { readonly completion_tokens: number };
  readonly nvext: { readonly timing: { readonly ttft_ms: number; readonly total_time_ms: number } };
}
