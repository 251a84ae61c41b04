import { expect, it } from 'vitest';
import type { BusyThresholds } from '../../../lib/index.js';
import { busyThenFree } from '../../helpers/llm/busy-worker.js';
import { chat, deployments } from '../../helpers/llm/deployments.js';
import { HeldEngine } from '../../helpers/llm/engines.js';
import { waitFor } from '../../helpers/wait.js';

const deployment = deployments();

it('a frontend whose workers are all busy answers 529', () =>
  busyThenFree(deployment(), { activeDecodeBlocks: 0.5 }, 529));

it.each<[string, BusyThresholds]>([
  ['tokens', { activePrefillTokens: 150 }],
  ['their share of what a step takes', { activePrefillTokensShare: 1.5 }],
])('a worker is busy while more %s than the threshold wait for prefill, and no longer', async (_, busy) => {
  const here = deployment();
  const engine = new HeldEngine('held');
  await here.serve(engine);
  const frontend = await here.frontend({ router: { mode: 'kv', busy } });
  await frontend.waitForModel('held');
  const accepted: Promise<number>[] = [];
  /** Asks with a prompt of about so many tokens, none of which is in the cache: `running`, or the status of the refusal. */
  const ask = async (tokens: number): Promise<number | 'running'> => {
    const before = engine.running;
    const content = `${Math.random()} ${'block '.repeat(tokens)}`;
    const answer = chat(frontend, { model: 'held', max_tokens: 1, messages: [{ role: 'user', content }] }).then(
      async (response) => (await response.text(), response.status),
    );
    const outcome = await waitFor('the request', () =>
      Promise.race([answer, engine.running > before ? ('running' as const) : undefined]),
    );
    if (outcome === 'running') accepted.push(answer);
    return outcome as number | 'running';
  };
  expect(await ask(10)).toBe('running');
  expect(await ask(200)).toBe('running');
  await waitFor(
    'the refusal',
    () => ask(10),
    (outcome) => outcome === 529,
  );
  engine.release();
  expect(new Set(await Promise.all(accepted))).toEqual(new Set([200]));
  await waitFor(
    'room',
    () => ask(10),
    (outcome) => outcome === 'running',
  );
  engine.release();
  expect(await accepted.at(-1)).toBe(200);
});
