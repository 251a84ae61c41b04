import { describe, expect, it } from 'vitest';

import { TestBrowser } from '../../helpers/dashboard/browser.js';
import { SceneServer } from '../../helpers/dashboard/browser-server.js';
import { lowest } from '../../helpers/wait.js';

/** Beyond this, a person notices that the page does not react. Source: the W3C's Long Tasks API. */
const MAX_TASK_MS = 50;
const UPDATES = 10;

/** Collects the long tasks of the page. */
const OBSERVE = `globalThis.longTasks = [];
new PerformanceObserver((list) => {
  for (const { startTime, duration } of list.getEntries()) longTasks.push({ startTime, duration });
}).observe({ type: 'longtask', buffered: true });`;

/** Counts the updates of the table. */
const COUNT = `globalThis.updates = 0;
new MutationObserver(() => { updates++; }).observe(
  document.querySelector('#instances-table tbody'), { characterData: true, childList: true, subtree: true });`;

describe('the page with 200 instances', () => {
  it(`has no task of more than ${MAX_TASK_MS} ms for an update after the first`, async () => {
    await using browser = await TestBrowser.start();
    await using server = await SceneServer.start({ decoders: 195 });
    const { page, faults } = await browser.open(server.url, OBSERVE);
    await expect.poll(() => page.locator('#instances-table tbody tr').count()).toBe(200);
    await page.locator('#instances-table thead th', { hasText: 'KV usage' }).getByRole('button').click();
    await page.evaluate(COUNT);

    const longest = await lowest(MAX_TASK_MS, async () => {
      await page.evaluate('updates = 0; longTasks = [];');
      await expect.poll(() => page.evaluate('updates'), { timeout: 120_000 }).toBeGreaterThanOrEqual(UPDATES);
      const tasks = (await page.evaluate('longTasks')) as { readonly duration: number }[];
      return Math.max(0, ...tasks.map(({ duration }) => duration));
    });
    expect(longest).toBeLessThan(MAX_TASK_MS);
    expect(faults).toEqual([]);
  });
});
