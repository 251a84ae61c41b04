import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import type { InstanceLogLine } from '../../../lib/dashboard/backend.js';
import { TestLink } from '../../../lib/testing/link.js';
import { type OpenPage, TestBrowser } from '../../helpers/dashboard/browser.js';
import { HOSTILE } from '../../helpers/dashboard/browser-scene.js';
import { SceneServer } from '../../helpers/dashboard/browser-server.js';

let browser: TestBrowser;
beforeAll(async () => {
  browser = await TestBrowser.start();
});
afterAll(() => browser?.[Symbol.asyncDispose]());

const line = (text: string): InstanceLogLine => ({ time: '2026-09-14T10:00:00.000Z', text });

const rows = ({ page }: OpenPage, table: string) => page.locator(`${table} tbody tr`);

describe('the page of the dashboard', () => {
  it('shows the graph, its instances, charts, transfers, decisions and a request', async () => {
    await using server = await SceneServer.start();
    const open = await browser.open(server.urlWithToken);
    const { page, faults } = open;
    expect(await page.title()).toBe('disaggregated · Dynamo');
    expect(await page.locator('#charts canvas').count()).toBe(8);
    expect(await page.locator('#graph-drawing .node').count()).toBe(4);
    expect(await page.locator('#graph-drawing .edge').count()).toBe(3);
    expect(await page.locator('#graph-drawing .node use').count()).toBe(9);
    expect(await page.locator('#graph-drawing svg').getAttribute('aria-label')).toContain(
      'Prefill (prefill): 2 of 3 ready',
    );
    expect(await rows(open, '#services-table').count()).toBe(4);
    expect(await rows(open, '#instances-table').count()).toBe(9);
    expect(await rows(open, '#transfers-table').allInnerTexts()).toEqual([
      expect.stringMatching(/^Decode#0\tnixl\t[\d.]+ MiB\/s\t[\d.]+ GiB\/s\t[\d.]+ ms\t/),
      expect.stringMatching(/^Decode#1\t/),
      expect.stringMatching(/^Decode#2\t/),
    ]);
    expect(await rows(open, '#planner-table').first().textContent()).toContain('prefill 1 → 2');
    expect(await page.locator('#trace .span-bar').count()).toBe(5);
    expect(await page.locator('#trace').textContent()).toContain('Chosen because: the lowest cost, 71.5 against 98');
    expect(await page.locator('#trace .winner').textContent()).toContain('→ Decode#2 chosen');
    expect(await page.locator('#figures').textContent()).toContain('Ready7 of 9');
    expect(faults).toEqual([]);
  });

  it('changes cells in place, and adds and removes rows', async () => {
    let decoders = 4;
    await using server = await SceneServer.start({
      intervalMs: 100,
      change: (snapshot) => ({
        ...snapshot,
        services: snapshot.services.map((service) =>
          service.name === 'Decode' ? { ...service, instances: service.instances.slice(0, decoders) } : service,
        ),
      }),
    });
    const open = await browser.open(server.url);
    const first = rows(open, '#instances-table').first();
    const handle = await first.elementHandle();
    const running = await first.locator('td').nth(3).textContent();
    await expect.poll(() => first.locator('td').nth(3).textContent()).not.toBe(running);
    expect(await handle!.evaluate((element) => (element as { isConnected: boolean }).isConnected)).toBe(true);
    decoders = 1;
    await expect.poll(() => rows(open, '#instances-table').count()).toBe(6);
    await expect.poll(() => open.page.locator('#graph-drawing .node use').count()).toBe(6);
    decoders = 3;
    await expect.poll(() => rows(open, '#instances-table').count()).toBe(8);
    expect(open.faults).toEqual([]);
  });

  it('sorts and filters instances', async () => {
    await using server = await SceneServer.start({ decoders: 12, intervalMs: 100_000 });
    const open = await browser.open(server.url);
    const { page } = open;
    const names = async () =>
      (await rows(open, '#instances-table').locator('th').allInnerTexts()).map((text) => text.trim());
    const heading = page.locator('#instances-table thead th').first();
    await heading.getByRole('button').click();
    expect(await heading.getAttribute('aria-sort')).toBe('ascending');
    // Numbers in names count as numbers.
    expect((await names()).slice(0, 12)).toEqual(Array.from({ length: 12 }, (_, number) => `Decode#${number}`));
    await heading.getByRole('button').click();
    expect((await names())[0]).toBe('Prefill#2');
    const usage = page.locator('#instances-table thead th', { hasText: 'KV usage' });
    await usage.getByRole('button').click();
    expect(await usage.getAttribute('aria-sort')).toBe('descending');
    const shares = (await page.locator('#instances-table tbody tr td:nth-child(10)').allInnerTexts()).map((text) =>
      Number.parseFloat(text),
    );
    const known = shares.filter((share) => !Number.isNaN(share));
    expect(known.length).toBeGreaterThan(5);
    expect(known).toEqual([...known].sort((a, b) => b - a));
    expect(shares.slice(0, known.length)).toEqual(known);

    await page.locator('#instances-filter').fill('prefill draining');
    expect(await names()).toEqual(['Prefill#2']);
    expect(await page.locator('#instances-count').textContent()).toBe('1 of 17 instances');
    await page.locator('#instances-filter').fill('nothing like this');
    await page.getByText('No instance matches.').waitFor();
    await page.getByRole('button', { name: 'Frontend', exact: true }).click();
    expect(await names()).toEqual(['Frontend#0']);
  });

  it('shows hostile names, models, reasons and log lines as text', async () => {
    await using server = await SceneServer.start({ isHostile: true, lines: [line(HOSTILE.line)] });
    const { page, faults } = await browser.open(server.urlWithToken);
    await page.locator('#logs-instance').selectOption(`${HOSTILE.service}#0`);
    await expect.poll(() => page.locator('#logs-lines').textContent()).toContain(HOSTILE.line);
    const text = await page.locator('body').textContent();
    for (const shown of [`${HOSTILE.service}#1`, HOSTILE.model, HOSTILE.reason, HOSTILE.url])
      expect(text).toContain(shown);
    expect(await page.title()).toBe(`${HOSTILE.service} · Dynamo`);
    await page.getByRole('button', { name: `Scale ${HOSTILE.service}` }).click();
    expect(await page.locator('#scale-title').textContent()).toBe(`Scale ${HOSTILE.service}`);
    expect(await page.locator('body :is(img, iframe, object, embed, script)').count()).toBe(0);
    expect(await page.locator('a[href^="javascript" i]').count()).toBe(0);
    expect(faults).toEqual([]);
  });

  it('follows a log, and pauses', async () => {
    const lines = [line('first')];
    await using server = await SceneServer.start({ lines });
    const { page, faults } = await browser.open(server.urlWithToken);
    await page.getByRole('button', { name: 'Log of Decode#1' }).click();
    expect(await page.locator('#logs-instance').inputValue()).toBe('Decode#1');
    const log = page.locator('#logs-lines');
    await expect.poll(() => log.textContent()).toContain('first');
    lines.push(line('second'));
    await expect.poll(() => log.textContent()).toContain('second');
    await page.getByRole('button', { name: 'Pause' }).click();
    lines.push(line('third'));
    await page.getByText('Paused; 1 new line').waitFor();
    expect(await log.textContent()).not.toContain('third');
    await page.getByRole('button', { name: 'Continue' }).click();
    expect(await log.textContent()).toContain('third');
    expect(faults).toEqual([]);
  });

  it('keeps a bounded number of log lines, the newest', async () => {
    const lines = Array.from({ length: 150 }, (_, index) => line(`line ${index}`));
    await using server = await SceneServer.start({ lines });
    const { page } = await browser.open(server.urlWithToken);
    await page.locator('#logs-instance').selectOption('Decode#0');
    const log = page.locator('#logs-lines');
    await expect.poll(() => log.textContent()).toContain('line 149');
    for (let index = 150; index < 5000; index++) lines.push(line(`line ${index}`));
    await expect.poll(() => log.textContent()).toContain('line 4999');
    expect(await log.locator('> div').count()).toBe(2000);
  });

  it('scales only after it has asked', async () => {
    await using server = await SceneServer.start();
    const { page, faults } = await browser.open(server.urlWithToken);
    const open = page.getByRole('button', { name: 'Scale Decode' });
    await open.click();
    const dialog = page.getByRole('dialog', { name: 'Scale Decode' });
    await dialog.getByRole('button', { name: 'One worker fewer' }).click();
    await dialog.getByRole('button', { name: 'Remove 1 worker' }).waitFor();
    await dialog.getByRole('button', { name: 'Cancel' }).click();
    expect(server.scaled).toEqual([]);
    await open.click();
    await dialog.getByRole('spinbutton').fill('0');
    await dialog.getByText('No worker of Decode will be left').waitFor();
    await dialog.getByRole('spinbutton').fill('1.5');
    await dialog.getByText('Enter a whole number').waitFor();
    await dialog.getByRole('spinbutton').fill('6');
    await dialog.getByRole('button', { name: 'Add 2 workers' }).click();
    await page.getByText('Decode changes to 6 workers').waitFor();
    expect(server.scaled).toEqual([{ service: 'Decode', workers: 6 }]);
    expect(faults).toEqual([]);
  });

  it('traces a request and shows its way', async () => {
    await using server = await SceneServer.start();
    const { page } = await browser.open(server.urlWithToken);
    await page.getByRole('button', { name: 'Trace a request…' }).click();
    await page.getByLabel('Prompt').fill('hello');
    await page.getByLabel('Most output tokens').fill('7');
    await page.getByRole('button', { name: 'Send request' }).click();
    await expect.poll(() => server.traced).toEqual([{ prompt: 'hello', model: 'llama-3.1-8b', maxTokens: 7 }]);
    await page.getByRole('dialog').waitFor({ state: 'hidden' });
  });

  it('keeps a traced request that the next snapshots do not have yet', async () => {
    await using server = await SceneServer.start({ intervalMs: 100 });
    const open = await browser.open(server.urlWithToken);
    const { page } = open;
    const before = await rows(open, '#traces-table').count();
    await page.getByRole('button', { name: 'Trace a request…' }).click();
    await page.getByLabel('Prompt').fill('hello');
    await page.getByRole('button', { name: 'Send request' }).click();
    await page.getByRole('dialog').waitFor({ state: 'hidden' });
    // The figures change with each snapshot, and are drawn before the requests.
    const figures = page.locator('#figures');
    for (let drawn = 0; drawn < 2; drawn++) {
      const shown = await figures.textContent();
      await expect.poll(() => figures.textContent()).not.toBe(shown);
    }
    expect(await rows(open, '#traces-table').count()).toBe(before + 1);
  });

  it('shows another traced request when it is chosen', async () => {
    await using server = await SceneServer.start();
    const open = await browser.open(server.url);
    const failed = rows(open, '#traces-table').filter({ hasText: 'failed' });
    await failed.getByRole('button').click();
    await open.page.getByText('Failed: the worker has left before the first token').waitFor();
    expect(await failed.getByRole('button').getAttribute('aria-pressed')).toBe('true');
  });
});

describe('the token of the page', () => {
  it('leaves the address bar and stays for the tab', async () => {
    await using server = await SceneServer.start();
    const { page } = await browser.open(server.urlWithToken);
    expect(page.url()).toBe(server.url);
    await page.getByRole('button', { name: 'Token accepted' }).waitFor();
    await page.reload();
    await page.getByRole('button', { name: 'Token accepted' }).waitFor();
  });

  it('is needed for actions, and a wrong one is called wrong', async () => {
    await using server = await SceneServer.start();
    const { page } = await browser.open(`${server.url}#token=wrong`);
    await page.getByRole('button', { name: 'Wrong token' }).waitFor();
    const scale = page.getByRole('button', { name: 'Scale Decode' });
    expect(await scale.isDisabled()).toBe(true);
    await page.getByText('Read only: the token is wrong').waitFor();
    await page.getByRole('button', { name: 'Log of Decode#0' }).click();
    await page.getByText('Logs need the token.').waitFor();

    await page.getByRole('button', { name: 'Wrong token' }).click();
    const dialog = page.getByRole('dialog', { name: 'Token' });
    for (const wrong of ['also wrong', 'größer\u0001']) {
      await dialog.getByLabel('Token').fill(wrong);
      await dialog.getByRole('button', { name: 'Use token' }).click();
      await dialog.getByText('The server refuses this token.').waitFor();
    }
    await dialog.getByLabel('Token').fill(server.token);
    await dialog.getByRole('button', { name: 'Use token' }).click();
    await page.getByRole('button', { name: 'Token accepted' }).waitFor();
    expect(await scale.isDisabled()).toBe(false);
    expect(server.scaled).toEqual([]);
  });

  it('is asked for if the address has none', async () => {
    await using server = await SceneServer.start();
    const { page, faults } = await browser.open(server.url);
    await page.getByRole('button', { name: 'Enter token' }).waitFor();
    await page.getByText('Read only: this needs the token').waitFor();
    expect(await page.getByRole('button', { name: 'Trace a request…' }).isDisabled()).toBe(true);
    expect(faults).toEqual([]);
  });
});

describe('the connection of the page', () => {
  it('comes back by itself after the server was started again', async () => {
    const first = await SceneServer.start();
    const { port, url } = first;
    const { page } = await browser.open(url);
    await first[Symbol.asyncDispose]();
    await page.locator('#connection[data-state="ended"]').waitFor();
    await page.getByRole('button', { name: 'Reconnect' }).waitFor();
    await using _second = await SceneServer.start({ port });
    await page.locator('#connection[data-state="live"]').waitFor();
    expect(await page.getByRole('button', { name: 'Reconnect' }).isVisible()).toBe(false);
  });

  it('comes back by itself after it was lost', async () => {
    await using server = await SceneServer.start({ intervalMs: 200 });
    await using link = await TestLink.start(server.url);
    const { page } = await browser.open(link.address);
    link.cut();
    await page.locator('#connection[data-state="lost"]').waitFor();
    link.restore();
    await page.locator('#connection[data-state="live"]').waitFor();
  });

  it('shows how old the data are if the server stalls', async () => {
    await using server = await SceneServer.start({ intervalMs: 200 });
    await using link = await TestLink.start(server.url);
    const { page } = await browser.open(link.address);
    await expect.poll(() => page.locator('#connection-age').textContent()).toBe('data 0 s old');
    link.hold();
    await page.locator('body.stale').waitFor();
    expect(await page.locator('#connection-age').textContent()).toMatch(/^data (?:[3-9]|\d{2,}) s old$/);
    link.restore();
    await page.locator('body:not(.stale)').waitFor();
  });
});
