import { createInterface } from 'node:readline';

/** Sends an answer to the bench. */
export function report(answer) {
  process.stdout.write(`${JSON.stringify({ bench: answer })}\n`);
}

/** Answers the bench's commands, one at a time, until the input ends. */
export async function answerCommands(answer) {
  for await (const line of createInterface({ input: process.stdin })) {
    try {
      report(await answer(JSON.parse(line)));
    } catch (error) {
      report({ error: String(error?.stack ?? error) });
    }
  }
}

/** A flat string of one-byte characters. */
export function textOf(bytes) {
  return Buffer.alloc(bytes, 'dynamo ').toString('latin1');
}

/**
 * A closed loop: `concurrency` calls at a time until the time is over. The time includes the drain of the last calls.
 * `call` returns the number of received items.
 */
export async function drive({ concurrency, ms }, call) {
  const latencies = [];
  let items = 0;
  const begin = performance.now();
  const end = begin + ms;
  const lane = async () => {
    let now = performance.now();
    do {
      const got = await call();
      items += got;
      const after = performance.now();
      latencies.push(after - now);
      now = after;
    } while (now < end);
  };
  await Promise.all(Array.from({ length: concurrency }, lane));
  return sampled(latencies, items, begin);
}

/**
 * An open loop: `rate` calls per second, also if earlier ones have not ended, then the drain. Every peer gets the same
 * load.
 */
export async function pace({ rate, ms }, call) {
  const latencies = [];
  const running = [];
  let items = 0;
  const begin = performance.now();
  for (let index = 0; index < (rate * ms) / 1000; index++) {
    const due = begin + (index * 1000) / rate;
    for (let early; (early = due - performance.now()) > 0; ) await new Promise((resolve) => setTimeout(resolve, early));
    const one = async () => {
      const now = performance.now();
      items += await call();
      latencies.push(performance.now() - now);
    };
    running.push(one());
  }
  await Promise.all(running);
  return sampled(latencies, items, begin);
}

function sampled(latencies, items, begin) {
  const seconds = (performance.now() - begin) / 1000;
  latencies.sort((a, b) => a - b);
  const at = (share) => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))];
  return { calls: latencies.length, items, seconds, p50Ms: at(0.5), p99Ms: at(0.99) };
}

/** Runs the measurement of a command. */
export function measure({ kind, concurrency, bytes, count, ms }, calls) {
  return drive({ concurrency, ms }, calls[kind](bytes, count));
}

export function expectSame(what, got, expected) {
  if (got !== expected) throw new Error(`${what}: expected ${expected}, got ${got}`);
}
