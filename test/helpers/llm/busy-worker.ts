import type { BusyThresholds } from 'dynamo-node';
import { expect } from 'vitest';
import { waitFor } from '../wait.js';
import { chat, type Deployment, post } from './deployments.js';
import { LoadedEngine } from './engines.js';

/**
 * Expects requests to be rejected with `status` while the load of a worker exceeds the threshold, and to succeed later.
 */
export async function expectRejectionsWhileBusy(here: Deployment, busy: BusyThresholds, status: number): Promise<void> {
  const engine = new LoadedEngine('loaded');
  await here.serve(engine);
  const frontend = await here.frontend({ router: { mode: 'kv', busy } });
  await frontend.waitForModel('loaded');
  const listed = (await (await fetch(`${frontend.url}/busy_threshold`)).json()) as { thresholds: object[] };
  expect(listed.thresholds).toEqual([
    expect.objectContaining({ model: 'loaded', active_decode_blocks_threshold: busy.activeDecodeBlocks }),
  ]);
  const ask = async (): Promise<number> => {
    const response = await chat(frontend, { model: 'loaded', max_tokens: 1 });
    await response.text();
    return response.status;
  };
  expect(await ask()).toBe(200);
  await waitFor(
    'the rejection',
    () => (engine.use(250), ask()),
    (answered) => answered !== 200,
  );
  expect(await ask()).toBe(status);
  await waitFor(
    'an answer',
    () => (engine.use(1), ask()),
    (answered) => answered === 200,
  );
  const raised = await post(frontend, '/busy_threshold', { model: 'loaded', active_decode_blocks_threshold: 0.99 });
  expect(await raised.json()).toMatchObject({ active_decode_blocks_threshold: 0.99 });
}
