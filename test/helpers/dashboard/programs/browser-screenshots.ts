// Writes the pictures of docs/dashboard.md: a real graph under load, in a real browser.
// TSX_TSCONFIG_PATH=tsconfig.check.json node --import tsx test/helpers/dashboard/programs/browser-screenshots.ts
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { BrowserContextOptions } from 'playwright-core';

import { ServeTest } from '../../deploy/serve.js';
import { root } from '../../project.js';
import { waitFor } from '../../wait.js';
import { TestBrowser } from '../browser.js';

const GRAPH = join(root, 'examples/disaggregated/graph.ts');
const NAME = 'disaggregated';
const SERVE = ['--ui', '--port', '0', '--Prefill.ServiceArgs.workers=2', '--Decode.ServiceArgs.workers=2'];
const IMAGES = join(root, 'docs/images');
const START_MS = 300_000;
const CALLERS = 3;
const LOAD_MS = Number(process.env['LOAD_MS'] ?? 75_000);
const PROMPTS = ['Once upon a time', 'The little tool was', 'One day the children found', 'A cat and a dog went'];

const PICTURES: Readonly<Record<string, BrowserContextOptions>> = {
  light: {},
  dark: { colorScheme: 'dark' },
  phone: { viewport: { width: 390, height: 844 } },
};

/** Sends one request after another, with pauses, until the signal aborts. */
async function call(url: string, model: string, first: number, signal: AbortSignal): Promise<void> {
  for (let index = first; !signal.aborted; index++) {
    const content = `${PROMPTS[index % PROMPTS.length]!} `.repeat(8 + (index % 5) * 4);
    const body = JSON.stringify({ model, messages: [{ role: 'user', content }], max_tokens: 16 });
    const headers = { 'content-type': 'application/json' };
    const answer = await fetch(`${url}/v1/chat/completions`, { method: 'POST', headers, body });
    await answer.text();
    await sleep(300 + 900 * Math.sin(index / 5) ** 2);
  }
}

await using served = new ServeTest();
const child = served.serve(SERVE, GRAPH);
await served.ready(child, NAME, START_MS);
const output = await waitFor(
  'the address of the page',
  () => child.output,
  (text) => /live view at http\S+/.test(text),
);
const view = /live view at (http\S+)/.exec(output)![1]!;
const [state] = await served.states();
const url = state!.urls[0]!.replace(/\/$/, '');
const { data } = (await (await fetch(`${url}/v1/models`)).json()) as { data: { id: string }[] };

const ending = new AbortController();
const calls = Array.from({ length: CALLERS }, (_, caller) => call(url, data[0]!.id, 7 * caller, ending.signal));
await sleep(LOAD_MS);
mkdirSync(IMAGES, { recursive: true });
for (const [name, options] of Object.entries(PICTURES)) {
  await using browser = await TestBrowser.start(options);
  const { page, faults } = await browser.open(view);
  await page.getByRole('button', { name: 'Token accepted' }).waitFor();
  if (name === 'light') {
    await page.getByRole('button', { name: 'Trace a request…' }).click();
    await page.getByLabel('Prompt').fill(`${PROMPTS[0]!} `.repeat(12));
    await page.getByRole('button', { name: 'Send request' }).click();
    await page.getByRole('dialog').waitFor({ state: 'hidden' });
    await page.locator('#requests').screenshot({ path: join(IMAGES, 'dashboard-request.png') });
    await page.evaluate('scrollTo(0, 0)');
  }
  await sleep(2000);
  await page.screenshot({ path: join(IMAGES, `dashboard-${name}.png`) });
  console.log(name, faults);
}
ending.abort();
await Promise.allSettled(calls);
