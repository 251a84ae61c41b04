import type { BusyThresholds } from 'dynamo-node';
import { describe, expect, it } from 'vitest';
import { expectRejectionsWhileBusy } from '../../helpers/llm/busy-worker.js';
import { chat, deployments } from '../../helpers/llm/deployments.js';
import { GatedEngine } from '../../helpers/llm/engines.js';
import { waitFor } from '../../helpers/wait.js';

const deployment = deployments();

describe('a frontend with busy thresholds', () => {
  it('rejects requests with 529 if all workers are busy', () =>
    expectRejectionsWhileBusy(deployment(), { activeDecodeBlocks: 0.5 }, 529));

  it.each<[string, BusyThresholds]>([
    ['tokens', { activePrefillTokens: 150 }],
    ['their share of what a step takes', { activePrefillTokensShare: 1.5 }],
  ])('counts a worker as busy while more %s than the threshold wait for prefill', async (_, busy) => {
    const here = deployment();
    const engine = new GatedEngine('gated');
    await here.serve(engine);
    const frontend = await here.frontend({ router: { mode: 'kv', busy } });
    await frontend.waitForModel('gated');
    const accepted: Promise<number>[] = [];
    /** Sends an uncached prompt of about `tokens` tokens. Returns `running`, or the status of the rejection. */
    const ask = async (tokens: number): Promise<number | 'running'> => {
      const before = engine.running;
      const content = `${Math.random()} ${'block '.repeat(tokens)}`;
      const answer = chat(frontend, { model: 'gated', max_tokens: 1, messages: [{ role: 'user', content }] }).then(
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
});
