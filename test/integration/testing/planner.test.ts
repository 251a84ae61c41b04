import type { PlannerServiceOptions } from 'dynamo-node/planner';
import { type RunningGraph, startGraph } from 'dynamo-node/testing';
import { describe, expect, it } from 'vitest';
import planned, { MAX_REQUESTS, Worker } from '../../helpers/planner/graphs/mocked.js';
import { waitFor } from '../../helpers/wait.js';

const OPTIONS: PlannerServiceOptions = {
  config: {
    ...{ objective: 'throughput', intervalMs: 250, coldStartMs: 500, maxGpus: 3 },
    pools: { worker: { kvTokens: 4000, maxRequests: MAX_REQUESTS } },
  },
};

const start = (options: PlannerServiceOptions): Promise<RunningGraph> =>
  startGraph(planned, { config: { Planner: options as Record<string, unknown> } });

/** One request. Returns the number of its tokens, or what went wrong. */
async function ask(url: string): Promise<number | string> {
  const body = JSON.stringify({ model: 'mocked', prompt: 'one two three four', max_tokens: 50, ignore_eos: true });
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`${url}/v1/completions`, { method: 'POST', headers, body });
  const text = await response.text();
  if (!response.ok) return `${response.status} ${text}`;
  return (JSON.parse(text) as { usage: { completion_tokens: number } }).usage.completion_tokens;
}

describe('startGraph with a planner', { timeout: 120_000 }, () => {
  it('scales the workers of the graph in this process, and no request fails', async () => {
    await using running = await start(OPTIONS);
    const workers = (): number => running.workers(Worker).length;
    expect(workers()).toBe(1);
    const url = running.url as string;
    await waitFor('the model', async () => (await ask(url)) === 50);
    const results: (number | string)[] = [];
    let isLoaded = true;
    const users = Array.from({ length: 3 * MAX_REQUESTS }, async () => {
      while (isLoaded) results.push(await ask(url));
    });
    await waitFor('three workers', () => workers() === 3, undefined, 60_000);
    isLoaded = false;
    await Promise.all(users);
    await waitFor('one worker', () => workers() === 1, undefined, 60_000);
    expect(new Set(results)).toEqual(new Set([50]));
    expect(running.decisions.flatMap(({ errors }) => errors)).toEqual([]);
    const scaled = running.decisions.filter(({ outcome }) => outcome === 'scaled').map(({ targets }) => targets.worker);
    expect([scaled[0], scaled.at(-1)]).toEqual([expect.any(Number), 1]);
    expect(scaled).toContain(3);
  });

  it('only decides with advisory, and ends its decisions with the graph', async () => {
    const running = await start({ ...OPTIONS, advisory: true });
    await waitFor('two decisions', () => running.decisions.length > 1);
    await running.close();
    const count = running.decisions.length;
    expect(running.decisions.every(({ outcome }) => outcome !== 'scaled')).toBe(true);
    await expect(running.add(Worker)).rejects.toThrow('closed');
    expect(running.decisions.length).toBe(count);
  });

  it('rejects a planner whose options are faulty, and leaves nothing running', async () => {
    await expect(start({ services: { worker: 'Other' } })).rejects.toThrow(/expected the name of the service to scale/);
  });
});
