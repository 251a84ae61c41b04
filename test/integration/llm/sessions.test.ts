import { setTimeout as after } from 'node:timers/promises';
import type { RouterOptions } from 'dynamo-node';
import { describe, expect, it } from 'vitest';
import { chat, deployments } from '../../helpers/llm/deployments.js';
import { LoadedEngine } from '../../helpers/llm/engines.js';
import { waitFor } from '../../helpers/wait.js';

const deployment = deployments();

/** Two workers, and a session on one of them. */
async function bound(router: RouterOptions) {
  const here = deployment();
  const serve = async () => {
    const engine = new LoadedEngine('counting');
    return { engine, ...(await here.serve(engine)) };
  };
  const workers = [await serve(), await serve()] as const;
  const frontend = await here.frontend({ router });
  await frontend.waitForModel('counting');
  const ask = async (session: string): Promise<number> => {
    const response = await chat(
      frontend,
      { model: 'counting', max_tokens: 1 },
      { headers: { 'x-dynamo-session-id': session } },
    );
    await response.text();
    return response.status;
  };
  let other = 0;
  await waitFor(
    'both workers',
    async () => (
      expect(await ask(`other-${other++}`)).toBe(200), workers.every(({ engine }) => engine.seen.length > 0)
    ),
  );
  const seen = () => workers.map(({ engine }) => engine.seen.length);
  const before = seen();
  expect(await ask('one')).toBe(200);
  const [home, away] = seen()[0] === before[0] ? [workers[1], workers[0]] : workers;
  return { ask, home, away };
}

describe.each(['hard', 'soft'] as const)('a session with affinity mode %s', (sessionAffinityMode) => {
  it.each(['round_robin', 'kv'] as const)('moves from a worker that has left, in mode %s', async (mode) => {
    const { ask, home, away } = await bound({ mode, sessionAffinitySeconds: 60, sessionAffinityMode });
    await home.worker.close();
    const before = away.engine.seen.length;
    await waitFor(
      'an answer',
      () => ask('one'),
      (status) => status === 200,
    );
    for (let index = 0; index < 3; index++) expect(await ask('one')).toBe(200);
    expect(away.engine.seen.length).toBe(before + 4);
  });

  it(`${sessionAffinityMode === 'hard' ? 'is refused by' : 'moves from'} a worker that is busy`, async () => {
    const { ask, home } = await bound({
      mode: 'kv',
      sessionAffinitySeconds: 60,
      sessionAffinityMode,
      busy: { activeDecodeBlocks: 0.5 },
    });
    /** The worker that answers the session, or the status of the rejection. */
    const answers = async (session = 'one'): Promise<'home' | 'away' | number> => {
      const before = home.engine.seen.length;
      const status = await ask(session);
      if (status !== 200) return status;
      return home.engine.seen.length > before ? 'home' : 'away';
    };
    await waitFor(
      'the load',
      () => (home.engine.use(250), answers()),
      (by) => by !== 'home',
    );
    expect(await answers()).toBe(sessionAffinityMode === 'hard' ? 529 : 'away');
    expect(await answers('new')).toBe('away');
    let other = 0;
    await waitFor(
      'room at home',
      () => (home.engine.use(1), answers(`later-${other++}`)),
      (by) => by === 'home',
    );
    for (let index = 0; index < 3; index++)
      expect(await answers()).toBe(sessionAffinityMode === 'hard' ? 'home' : 'away');
  });
});

describe('a session', () => {
  it('ends after sessionAffinitySeconds without a request', async () => {
    const TTL_MS = 2000;
    const { ask, away } = await bound({ mode: 'round_robin', sessionAffinitySeconds: TTL_MS / 1000 });
    // Requests keep it alive well beyond its time.
    const began = performance.now();
    const before = away.engine.seen.length;
    let longestMs = 0;
    for (let last = began; last < began + 1.5 * TTL_MS; ) {
      await after(50);
      expect(await ask('one')).toBe(200);
      longestMs = Math.max(longestMs, performance.now() - last);
      last = performance.now();
    }
    // This process itself may have been paused for that long.
    if (longestMs < TTL_MS) expect(away.engine.seen.length).toBe(before);
    await waitFor('another home', async () => {
      await after(1.2 * TTL_MS);
      expect(await ask('one')).toBe(200);
      return away.engine.seen.length - before;
    });
  });
});
