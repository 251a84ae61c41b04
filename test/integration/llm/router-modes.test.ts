import type { FrontendRouterMode, LLMEngineOutput } from 'dynamo-node';
import { describe, expect, it } from 'vitest';
import { chat, deployments } from '../../helpers/llm/deployments.js';
import { CountingEngine } from '../../helpers/llm/engines.js';
import { waitFor } from '../../helpers/wait.js';

const deployment = deployments();

/** Records its name for each request, and blocks the requests that a test chooses. */
class NamedEngine extends CountingEngine {
  constructor(
    private readonly name: string,
    private readonly served: string[],
    private readonly gate: { hold: boolean; go?: () => void },
  ) {
    super('modes');
  }

  override async *generate(): AsyncGenerator<LLMEngineOutput> {
    this.served.push(this.name);
    if (this.gate.hold) {
      this.gate.hold = false;
      await new Promise<void>((resolve) => (this.gate.go = resolve));
    }
    yield { token_ids: [300], finish_reason: 'stop' };
  }
}

/** A frontend of a mode with two discovered workers, and the workers of the requests. */
async function twoWorkers(mode: FrontendRouterMode) {
  const here = deployment();
  const served: string[] = [];
  const gate: { hold: boolean; go?: () => void } = { hold: false };
  const ids = new Map<string, bigint>();
  for (const name of ['one', 'two'])
    ids.set(name, (await here.serve(new NamedEngine(name, served, gate))).runtime.instanceId);
  const frontend = await here.frontend({ router: { mode } });
  await frontend.waitForModel('modes');
  const ask = async (init?: RequestInit): Promise<number> => {
    const response = await chat(frontend, { model: 'modes', max_tokens: 1 }, init);
    await response.text();
    return response.status;
  };
  const oneByOne = async (count: number, init?: RequestInit): Promise<string[]> => {
    const before = served.length;
    for (let index = 0; index < count; index++) expect(await ask(init)).toBe(200);
    return served.slice(before);
  };
  const both = (init?: RequestInit) =>
    waitFor(
      'an answer of both',
      () => ask(init),
      () => new Set(served).size === 2,
      20_000,
    );
  return { frontend, served, gate, ids, ask, oneByOne, both };
}

describe('router mode', () => {
  it('round_robin alternates between workers', async () => {
    const { oneByOne, both } = await twoWorkers('round_robin');
    await both();
    const answers = await oneByOne(20);
    expect(answers.filter((name, index) => index > 0 && name !== answers[index - 1])).toHaveLength(19);
  });

  it('random uses every worker, in no fixed order', async () => {
    const { oneByOne, both } = await twoWorkers('random');
    await both();
    const answers = await oneByOne(60);
    expect(answers.filter((name, index) => index > 0 && name !== answers[index - 1]).length).toBeLessThan(55);
    expect(new Set(answers).size).toBe(2);
  });

  it.each(['power_of_two_choices', 'least_loaded', 'device_aware_weighted'] as const)(
    '%s avoids a busy worker',
    async (mode) => {
      const { gate, served, ask, oneByOne, both } = await twoWorkers(mode);
      await both();
      gate.hold = true;
      const blocked = ask();
      await waitFor('the blocked request', () => gate.go);
      const busy = served.at(-1) as string;
      // A completed request may still be counted shortly. Then both workers have one request, and either may be chosen.
      expect((await oneByOne(40)).filter((name) => name !== busy).length).toBeGreaterThan(31);
      gate.go?.();
      expect(await blocked).toBe(200);
    },
  );

  it('direct sends a request to its worker, and rejects a request without one', async () => {
    const { ids, ask, oneByOne } = await twoWorkers('direct');
    const to = (name: string): RequestInit => ({ headers: { 'x-dynamo-worker-instance-id': String(ids.get(name)) } });
    for (const name of ['one', 'two']) {
      await waitFor(
        `the worker ${name}`,
        () => ask(to(name)),
        (status) => status === 200,
      );
      expect(await oneByOne(5, to(name))).toEqual(Array(5).fill(name));
    }
    expect(await ask()).toBeGreaterThanOrEqual(400);
  });
});
