import { setTimeout as sleep } from 'node:timers/promises';
import type { CDPSession } from 'playwright-core';
import { describe, expect, it } from 'vitest';

import { TestBrowser } from '../../helpers/dashboard/browser.js';
import { SceneServer } from '../../helpers/dashboard/browser-server.js';
import { lowest } from '../../helpers/wait.js';

/** The share of the page's thread that updates may take, drawn by software. The rest is free for the person's keys. */
const MAX_SHARE = 0.4;
const WINDOW_SECONDS = 5;

/** Seconds of the clock and of the processor time of the page's thread. Waiting for a core is no processor time. */
async function secondsOf(session: CDPSession): Promise<{ clock: number; tasks: number }> {
  const { metrics } = await session.send('Performance.getMetrics');
  const value = (wanted: string): number => metrics.find(({ name }) => name === wanted)?.value ?? Number.NaN;
  return { clock: performance.now() / 1000, tasks: value('TaskDuration') };
}

describe('the page with 200 instances', () => {
  it.each(['in the order of the data', 'sorted'])('leaves most of its thread free, %s', async (order) => {
    await using browser = await TestBrowser.start();
    await using server = await SceneServer.start({ decoders: 195 });
    const { page, faults } = await browser.open(server.url);
    await expect.poll(() => page.locator('#instances-table tbody tr').count(), { timeout: 30_000 }).toBe(200);
    if (order === 'sorted')
      await page.locator('#instances-table thead th', { hasText: 'KV usage' }).getByRole('button').click();
    const session = await page.context().newCDPSession(page);
    await session.send('Performance.enable', { timeDomain: 'threadTicks' });

    const share = await lowest(MAX_SHARE, async () => {
      const before = await secondsOf(session);
      await sleep(WINDOW_SECONDS * 1000);
      const after = await secondsOf(session);
      return (after.tasks - before.tasks) / (after.clock - before.clock);
    });
    expect(share).toBeGreaterThan(0);
    expect(share).toBeLessThan(MAX_SHARE);
    expect(faults).toEqual([]);
  });

  it('changes rows out of sight too, a few at each update', async () => {
    await using browser = await TestBrowser.start();
    await using server = await SceneServer.start({ decoders: 195 });
    const { page } = await browser.open(server.url);
    const last = page.locator('#instances-table tbody tr').nth(190);
    await expect.poll(() => page.locator('#instances-table tbody tr').count(), { timeout: 30_000 }).toBe(200);
    const before = await last.textContent();
    await expect.poll(() => last.textContent(), { timeout: 60_000 }).not.toBe(before);
  });
});
