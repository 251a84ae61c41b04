import { expect, it } from 'vitest';
import type { FrontendRouterMode, LLMEngineOutput } from '../../../lib/index.js';
import { chat, deployments } from '../../helpers/llm/deployments.js';
import { CountingEngine } from '../../helpers/llm/engines.js';
import { waitFor } from '../../helpers/wait.js';

const deployment = deployments();

/** Tells which of two it is, and holds a request back where it is told to. */
class NamedEngine extends CountingEngine {
  constructor(
    private readonly name: string,
    private readonly asked: string[],
    private readonly gate: { hold: boolean; go?: () => void },
  ) {
    super('modes');
  }

  override async *generate(): AsyncGenerator<LLMEngineOutput> {
    this.asked.push(this.name);
    if (this.gate.hold) {
      this.gate.hold = false;
      await new Promise<void>((resolve) => (this.gate.go = resolve));
    }
    yield { token_ids: [300], finish_reason: 'stop' };
  }
}

/** A frontend of a mode before two workers that it knows both, and who was asked. */
async function twoWorkers(mode: FrontendRouterMode) {
  const here = deployment();
  const asked: string[] = [];
  const gate: { hold: boolean; go?: () => void } = { hold: false };
  const ids = new Map<string, bigint>();
  for (const name of ['one', 'two'])
    ids.set(name, (await here.serve(new NamedEngine(name, asked, gate))).runtime.instanceId);
  const frontend = await here.frontend({ router: { mode } });
  await frontend.waitForModel('modes');
  const ask = async (init?: RequestInit): Promise<number> => {
    const response = await chat(frontend, { model: 'modes', max_tokens: 1 }, init);
    await response.text();
    return response.status;
  };
  const oneByOne = async (count: number, init?: RequestInit): Promise<string[]> => {
    const before = asked.length;
    for (let index = 0; index < count; index++) expect(await ask(init)).toBe(200);
    return asked.slice(before);
  };
  const both = (init?: RequestInit) =>
    waitFor(
      'an answer of both',
      () => ask(init),
      () => new Set(asked).size === 2,
      20_000,
    );
  return { frontend, asked, gate, ids, ask, oneByOne, both };
}

it('a frontend of mode round_robin takes turns', async () => {
  const { oneByOne, both } = await twoWorkers('round_robin');
  await both();
  const answers = await oneByOne(20);
  expect(answers.filter((name, index) => index > 0 && name !== answers[index - 1])).toHaveLength(19);
});

it('a frontend of mode random takes no turns, and leaves nobody out', async () => {
  const { oneByOne, both } = await twoWorkers('random');
  await both();
  const answers = await oneByOne(60);
  expect(answers.filter((name, index) => index > 0 && name !== answers[index - 1]).length).toBeLessThan(55);
  expect(new Set(answers).size).toBe(2);
});

it.each(['power_of_two_choices', 'least_loaded', 'device_aware_weighted'] as const)(
  'a frontend of mode %s keeps away from a worker that is busy',
  async (mode) => {
    const { gate, asked, ask, oneByOne, both } = await twoWorkers(mode);
    await both();
    gate.hold = true;
    const held = ask();
    await waitFor('the request that is held', () => gate.go);
    const busy = asked.at(-1) as string;
    // What has just ended may still be counted for a moment: then both have one request, and either may be chosen.
    expect((await oneByOne(40)).filter((name) => name !== busy).length).toBeGreaterThan(31);
    gate.go?.();
    expect(await held).toBe(200);
  },
);

it('a frontend of mode direct sends where the request says, and refuses one that says nothing', async () => {
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
