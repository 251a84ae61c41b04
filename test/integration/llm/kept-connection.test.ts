import { Agent, request } from 'node:http';
import type { Frontend } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';
import { deployments } from '../../helpers/llm/deployments.js';
import { CountingEngine } from '../../helpers/llm/engines.js';

const deployment = deployments();

/** Milliseconds from a request to the first bytes of its stream. Reads the stream to its end. */
function firstBytes({ url }: Frontend, agent: Agent): Promise<number> {
  const body = JSON.stringify({
    model: 'counter',
    stream: true,
    max_tokens: 8,
    messages: [{ role: 'user', content: 'hello there' }],
  });
  const begin = performance.now();
  return new Promise((resolve, reject) => {
    const sent = request(
      `${url}/v1/chat/completions`,
      { method: 'POST', agent, headers: { 'content-type': 'application/json' } },
      (response) => {
        let first: number | undefined;
        response.on('data', () => (first ??= performance.now() - begin));
        response.on('end', () => resolve(first as number));
      },
    );
    sent.on('error', reject).end(body);
  });
}

describe('a kept connection', () => {
  // With Nagle's algorithm, every request after the first waits for the client's delayed acknowledgement: 40 ms or
  // more.
  it('delivers first tokens without delay', async () => {
    const here = deployment();
    await here.serve(new CountingEngine('counter'));
    const frontend = await here.frontend();
    await frontend.waitForModel('counter');
    const kept = new Agent({ keepAlive: true, maxSockets: 1 });
    const fresh = new Agent();
    onTestFinished(() => kept.destroy());
    const times: [kept: number, fresh: number][] = [];
    for (let turn = 0; turn < 12; turn++)
      times.push([await firstBytes(frontend, kept), await firstBytes(frontend, fresh)]);
    const behind = times.slice(2).map(([one, other]) => one - other);
    expect(
      Math.min(...behind),
      `${times.map((both) => both.map(Math.round).join(' and ')).join(', ')} ms`,
    ).toBeLessThan(30);
  });
});
