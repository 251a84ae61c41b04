import type { Frontend } from 'dynamo-node';
import { describe, expect, it } from 'vitest';
import { deployments } from '../../helpers/llm/deployments.js';
import { CountingEngine } from '../../helpers/llm/engines.js';
import { lowest } from '../../helpers/wait.js';

const deployment = deployments();

/** The median time of `count` calls at once over 20 rounds, in milliseconds. */
async function median(count: number, call: () => Promise<unknown>): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round < 20; round++) {
    const begin = performance.now();
    await Promise.all(Array.from({ length: count }, call));
    times.push(performance.now() - begin);
  }
  return times.sort((one, other) => one - other)[times.length >> 1] as number;
}

/** How much longer `count` calls at once take than one, in milliseconds. */
async function addedBy(count: number, call: () => Promise<unknown>): Promise<number> {
  const [one, several] = [await median(1, call), await median(count, call)];
  return several - one;
}

async function chat({ url }: Frontend): Promise<void> {
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'counter', max_tokens: 2, messages: [{ role: 'user', content: 'hello' }] }),
  });
  expect(response.status).toBe(200);
  await response.text();
}

// With Nagle's algorithm at the worker, every call but the first waits for the caller's delayed acknowledgement: 40 ms
// or more.
describe('calls at the same time', () => {
  it('are answered by a handler without delay', async () => {
    const endpoint = (await deployment().runtime()).endpoint('test.worker.echo');
    await endpoint.serve(async (value) => value);
    const client = await endpoint.client();
    await client.waitForInstances();
    const call = () => client.unary('x');
    await median(2, call);
    expect(await lowest(30, () => addedBy(2, call))).toBeLessThan(30);
    expect(await lowest(35, () => addedBy(8, call))).toBeLessThan(35);
  });

  it('are answered by an engine without delay', async () => {
    const here = deployment();
    await here.serve(new CountingEngine('counter'));
    const frontend = await here.frontend();
    await frontend.waitForModel('counter');
    const call = () => chat(frontend);
    await median(2, call);
    expect(await lowest(30, () => addedBy(2, call))).toBeLessThan(30);
  });
});
