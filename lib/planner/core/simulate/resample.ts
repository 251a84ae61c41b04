import { randomNumbers } from './random.js';
import type { TraceRequest } from './trace.js';

/** Within a window the load counts as constant. */
const WINDOW_MS = 10_000;

/** A number of a Poisson distribution, by exponential gaps. */
function poisson(mean: number, random: () => number): number {
  let count = -1;
  for (let time = 0; time < mean; count++) time -= Math.log(1 - random());
  return Math.max(0, count);
}

/**
 * Another trace that might have been recorded under the same load: in each window of 10 s as many requests as a Poisson
 * process gives, drawn from those of the window, at new times. Its differences from the trace are what chance does.
 *
 * @param seed the same seed gives the same trace
 */
export function resampled(trace: readonly TraceRequest[], seed: number): TraceRequest[] {
  const random = randomNumbers(seed);
  const windows = new Map<number, TraceRequest[]>();
  for (const request of trace) {
    const window = Math.floor(request.atMs / WINDOW_MS);
    const requests = windows.get(window);
    if (requests === undefined) windows.set(window, [request]);
    else requests.push(request);
  }
  const endMs = trace.at(-1)?.atMs ?? 0;
  const drawn = [...windows].flatMap(([window, requests]) => {
    const startMs = window * WINDOW_MS;
    const lengthMs = Math.max(1, Math.min(WINDOW_MS, endMs - startMs));
    return Array.from({ length: poisson(requests.length, random) }, () => ({
      ...(requests[Math.floor(random() * requests.length)] as TraceRequest),
      atMs: startMs + random() * lengthMs,
    }));
  });
  return drawn.sort((a, b) => a.atMs - b.atMs);
}
