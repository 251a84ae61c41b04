import axe from 'axe-core';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { TestBrowser } from '../../helpers/dashboard/browser.js';
import { SceneServer } from '../../helpers/dashboard/browser-server.js';

let server: SceneServer;
beforeAll(async () => {
  server = await SceneServer.start({ lines: [{ time: '2026-09-14T10:00:00.000Z', text: 'a line' }] });
});
afterAll(() => server?.[Symbol.asyncDispose]());

/** What axe finds wrong: rule and elements. */
async function violations(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const { violations: found } = (await page.evaluate('axe.run()')) as axe.AxeResults;
  return found.flatMap(({ id, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id}: ${target} ${failureSummary}`),
  );
}

/** The ratio of contrast of two colours that the page computes. Source: WCAG 2.2, relative luminance. */
const CONTRAST = `(a, b) => {
  const channels = (name) => {
    const element = document.body.appendChild(document.createElement('i'));
    element.style.color = 'var(' + name + ')';
    const found = getComputedStyle(element).color.match(/[\\d.]+/g).slice(0, 3).map(Number);
    element.remove();
    return found;
  };
  const luminance = (name) => {
    const [r, g, b] = channels(name).map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}`;

/** Pairs of foreground and background with the smallest ratio: 4.5 for text, 3 for shapes. */
const PAIRS: readonly (readonly [foreground: string, background: string, least: number])[] = [
  ...['--text', '--muted', '--accent', '--bad'].flatMap((name) => [
    [name, '--panel', 4.5] as const,
    [name, '--raised', 4.5] as const,
  ]),
  ['--good', '--good-bg', 4.5],
  ['--bad', '--bad-bg', 4.5],
  ['--accent', '--info-bg', 4.5],
  ['--text', '--warn-bg', 4.5],
  ['--on-accent', '--accent', 4.5],
  ['--on-bar', '--bar', 4.5],
  ['--on-bar-muted', '--bar', 4.5],
  ['--line-1', '--panel', 3],
  ['--line-2', '--panel', 3],
  ['--focus', '--panel', 3],
  ...['ready', 'present', 'starting', 'waiting', 'draining', 'backing-off', 'failed', 'stopped'].map(
    (phase) => [`--p-${phase}`, '--raised', 3] as const,
  ),
  ...['request', 'queue', 'prefill', 'wait', 'transfer', 'decode'].map(
    (span) => [`--s-${span}`, '--panel', 3] as const,
  ),
];

describe.each([['light'], ['dark']] as const)('the page in %s colours', (colorScheme) => {
  let browser: TestBrowser;
  beforeAll(async () => {
    browser = await TestBrowser.start({ colorScheme });
  });
  afterAll(() => browser?.[Symbol.asyncDispose]());

  it('breaks no rule of axe, with and without a dialog', async () => {
    const { page } = await browser.open(server.urlWithToken);
    await page.locator('#logs-instance').selectOption('Decode#0');
    await page.getByText('a line').waitFor();
    expect(await violations(page)).toEqual([]);
    await page.getByRole('button', { name: 'Scale Decode' }).click();
    expect(await violations(page)).toEqual([]);
  });

  it('has enough contrast for each text and shape', async () => {
    const { page } = await browser.open(server.url);
    for (const [foreground, background, least] of PAIRS) {
      const ratio = await page.evaluate(`(${CONTRAST})(${JSON.stringify(foreground)}, ${JSON.stringify(background)})`);
      expect(ratio, `${foreground} on ${background}`).toBeGreaterThanOrEqual(least);
    }
  });
});

describe('the page by keyboard', () => {
  let browser: TestBrowser;
  beforeAll(async () => {
    browser = await TestBrowser.start();
  });
  afterAll(() => browser?.[Symbol.asyncDispose]());

  /** The element that has the focus: its name, and whether its focus is visible. */
  const FOCUSED = `(() => {
    const element = document.activeElement;
    const style = getComputedStyle(element);
    const label = element.getAttribute('aria-label') ?? element.labels?.[0]?.textContent ?? element.textContent;
    return {
      name: label.trim().replace(/\\s+/g, ' ').slice(0, 60),
      isBody: element === document.body,
      isVisible: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1,
    };
  })()`;
  interface Focused {
    readonly name: string;
    readonly isBody: boolean;
    readonly isVisible: boolean;
  }

  const focused = async (page: Page) => (await page.evaluate(FOCUSED)) as Focused;

  async function tabTo(page: Page, name: string): Promise<void> {
    for (let presses = 0; presses < 150; presses++) {
      await page.keyboard.press('Tab');
      if ((await focused(page)).name === name) return;
    }
    throw new Error(`no press of Tab reaches ${name}`);
  }

  it('skips to the content first', async () => {
    const { page } = await browser.open(server.urlWithToken);
    await page.keyboard.press('Tab');
    expect((await focused(page)).name).toBe('Skip to content');
    await page.keyboard.press('Enter');
    await expect.poll(() => page.evaluate('document.activeElement.id')).toBe('main');
  });

  it('reaches every control once, with a focus that is visible', async () => {
    const { page } = await browser.open(server.urlWithToken);
    const names: string[] = [];
    for (let presses = 0; presses < 150; presses++) {
      await page.keyboard.press('Tab');
      const { name, isBody, isVisible } = await focused(page);
      if (isBody) break;
      expect(isVisible, `the focus of ${name}`).toBe(true);
      names.push(name);
    }
    for (const name of [
      'Graph',
      'Token accepted',
      'Services',
      'Scale Prefill',
      'Sources of these data',
      'Time to first token over time',
      'As a table',
      'Filter',
      'KV usage',
      'Log of Frontend#0',
      'Trace a request…',
      'Traced requests',
      'Timeline of the request',
      'Transfers',
      'Only changes',
      'Follow',
      'Log lines',
    ])
      expect(names, name).toContain(name);
    // The rows of a long table are one stop.
    expect(names.filter((name) => name.startsWith('Log of '))).toEqual(['Log of Frontend#0']);
  });

  it('goes through rows with the arrow keys, opens a log and sorts', async () => {
    const { page } = await browser.open(server.urlWithToken);
    await tabTo(page, 'Log of Frontend#0');
    await page.keyboard.press('ArrowDown');
    expect((await focused(page)).name).toBe('Log of Prefill#0');
    await page.keyboard.press('End');
    expect((await focused(page)).name).toBe('Log of Planner#0');
    await page.keyboard.press('ArrowUp');
    await page.keyboard.press('Enter');
    await expect.poll(() => page.locator('#logs-instance').inputValue()).toBe('Decode#3');
    expect(await page.evaluate('document.activeElement.id')).toBe('logs-instance');
  });

  it('reads charts with the arrow keys', async () => {
    const { page } = await browser.open(server.urlWithToken);
    await tabTo(page, 'Time to first token over time');
    const text = () =>
      page.getByRole('slider', { name: 'Time to first token over time' }).getAttribute('aria-valuetext');
    await page.keyboard.press('PageDown');
    const first = await text();
    expect(first).toMatch(/^\d\d:\d\d:\d\d: p50 [\d.]+ ms, p95 [\d.]+ ms$/);
    await page.keyboard.press('ArrowRight');
    expect(await text()).not.toBe(first);
    await page.keyboard.press('ArrowLeft');
    expect(await text()).toBe(first);
  });

  it('scales a service', async () => {
    const { page } = await browser.open(server.urlWithToken);
    const before = server.scaled.length;
    await tabTo(page, 'Scale Prefill');
    await page.keyboard.press('Enter');
    await page.getByRole('dialog', { name: 'Scale Prefill' }).waitFor();
    await page.keyboard.press('Escape');
    expect((await focused(page)).name).toBe('Scale Prefill');
    await page.keyboard.press('Enter');
    await page.keyboard.press('ArrowUp');
    await page.keyboard.press('Enter');
    await expect.poll(() => server.scaled.slice(before)).toEqual([{ service: 'Prefill', workers: 4 }]);
  });
});

describe('the page for screen readers', () => {
  let browser: TestBrowser;
  beforeAll(async () => {
    browser = await TestBrowser.start({ reducedMotion: 'reduce', viewport: { width: 390, height: 844 } });
  });
  afterAll(() => browser?.[Symbol.asyncDispose]());

  it('has landmarks, headings and live regions that stay quiet', async () => {
    const { page } = await browser.open(server.urlWithToken);
    for (const role of ['banner', 'navigation', 'main'] as const) expect(await page.getByRole(role).count()).toBe(1);
    const headings = await page.getByRole('heading', { level: 2 }).allInnerTexts();
    expect(headings).toEqual(['Graph', 'Services', 'Metrics', 'Instances', 'Requests', 'Transfers', 'Planner', 'Logs']);
    // A change each second must not be read aloud.
    const changed = await page.evaluate(`new Promise((resolve) => {
      let count = 0;
      const observer = new MutationObserver((records) => { count += records.length; });
      for (const region of document.querySelectorAll('[role=status], [aria-live]:not([aria-live=off])'))
        observer.observe(region, { childList: true, characterData: true, subtree: true });
      setTimeout(() => resolve(count), 3000);
    })`);
    expect(changed).toBe(0);
  });

  it('has a text for each chart and one for the graph', async () => {
    const { page } = await browser.open(server.url);
    await expect.poll(() => page.getByRole('slider').count()).toBe(8);
    for (const slider of await page.getByRole('slider').all())
      await expect.poll(() => slider.getAttribute('aria-valuetext')).toMatch(/^\d\d:\d\d:\d\d: /);
    await page.getByText('As a table').first().click();
    // A browser reports later that the details were opened.
    await expect.poll(() => page.locator('.chart').first().locator('tbody tr').count()).toBe(30);
    expect(await page.locator('#graph-drawing').getByRole('img').getAttribute('aria-label')).toContain(
      'Frontend calls Decode by kv',
    );
  });

  it('moves nothing if less motion is preferred, and does not scroll sideways on a phone', async () => {
    const { page } = await browser.open(server.url);
    expect(await page.evaluate('getComputedStyle(document.documentElement).scrollBehavior')).toBe('auto');
    expect(await page.evaluate('document.getAnimations().length')).toBe(0);
    expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true);
  });
});
