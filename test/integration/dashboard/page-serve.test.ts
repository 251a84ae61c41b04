import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { type OpenPage, TestBrowser } from '../../helpers/dashboard/browser.js';
import { ServeTest } from '../../helpers/deploy/serve.js';
import { root } from '../../helpers/project.js';
import { MODEL } from '../../helpers/router/disaggregated-engines.js';
import { waitFor, waitForModel } from '../../helpers/wait.js';

const GRAPH = join(root, 'test/helpers/deploy/graphs/disaggregated.ts');
const START_MS = 120_000;

describe('the page of `dynamo serve --ui`', () => {
  const served = new ServeTest();
  let browser: TestBrowser;
  let open: OpenPage;
  beforeAll(async () => {
    const child = served.serve(['--ui'], GRAPH);
    await served.ready(child, 'disaggregated-test', START_MS);
    const output = await waitFor(
      'the address of the page',
      () => child.output,
      (text) => /live view at http\S+/.test(text),
    );
    const [state] = await served.states();
    await waitForModel(state!.urls[0] as string, MODEL);
    browser = await TestBrowser.start();
    open = await browser.open(/live view at (http\S+)/.exec(output)![1]!);
  });
  afterAll(async () => {
    await browser?.[Symbol.asyncDispose]();
    await served[Symbol.asyncDispose]();
  });

  const instances = () => open.page.locator('#instances-table tbody tr');

  it('shows the services with their roles and instances', async () => {
    const { page } = open;
    await page.getByRole('button', { name: 'Token accepted' }).waitFor();
    await expect.poll(() => page.title()).toBe('disaggregated-test · Dynamo');
    const drawing = page.locator('#graph-drawing').getByRole('img');
    for (const part of ['Frontend (frontend)', 'Prefill (prefill)', 'Decode (decode)'])
      await expect.poll(() => drawing.getAttribute('aria-label')).toContain(`${part}: 1 of 1 ready`);
    await expect.poll(() => instances().filter({ hasText: 'ready' }).count()).toBe(3);
  });

  it('traces a request', async () => {
    const { page } = open;
    await page.getByRole('button', { name: 'Trace a request…' }).click();
    await page.getByLabel('Prompt').fill('Once upon a time there was a little tool');
    await page.getByLabel('Most output tokens').fill('8');
    await page.getByRole('button', { name: 'Send request' }).click();
    await page.getByRole('dialog').waitFor({ state: 'hidden' });
    await page.locator('#trace [data-span="request"]').waitFor();
    await expect.poll(() => page.locator('#traces-table tbody tr').count()).toBe(1);
    expect(await page.locator('#trace .error').count()).toBe(0);
  });

  it('shows the log of an instance', async () => {
    const { page } = open;
    await page.getByRole('button', { name: 'Log of Decode#0' }).click();
    // It may be empty. What counts is that the server has accepted the question, and says nothing else.
    await expect.poll(() => page.locator('#logs-state').textContent()).toMatch(/^(No lines yet)?$/);
    expect(await page.locator('#logs-instance').inputValue()).toBe('Decode#0');
  });

  it('scales a service, and shows the new worker when it is ready', async () => {
    const { page } = open;
    await page.getByRole('button', { name: 'Scale Decode' }).click();
    const dialog = page.getByRole('dialog', { name: 'Scale Decode' });
    await dialog.getByRole('spinbutton').fill('2');
    await dialog.getByRole('button', { name: 'Add 1 worker' }).click();
    await dialog.waitFor({ state: 'hidden' });
    const added = instances().filter({ hasText: 'Decode#1' });
    await expect.poll(() => added.textContent(), { timeout: START_MS }).toContain('ready');
    const [state] = await served.states();
    const decode = state!.services.find(({ name }) => name === 'Decode')!;
    expect(decode.workers.filter(({ phase }) => phase === 'ready')).toHaveLength(2);
    expect(open.faults).toEqual([]);
  });
});
