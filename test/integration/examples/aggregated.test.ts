import { join } from 'node:path';

import { expect, it } from 'vitest';

import { ServeTest } from '../../helpers/deploy/serve.js';
import { root } from '../../helpers/project.js';
import { waitForModel } from '../../helpers/wait.js';

const folder = join(root, 'examples/aggregated');

async function answerOf(url: string, model: string, content: string): Promise<string | undefined> {
  const body = { model, messages: [{ role: 'user', content }], max_tokens: 100, temperature: 0 };
  const request = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
  const { choices } = (await (await fetch(`${url}/v1/chat/completions`, request)).json()) as {
    choices: { message: { content: string } }[];
  };
  return choices[0]?.message.content;
}

it('the example aggregated serves the model of its configuration, and answers while it is scaled', async () => {
  await using test = new ServeTest();
  const flags = ['-f', join(folder, 'config.yaml'), '--port', '0', '--Worker.model=demo'];
  const serve = test.serve(flags, join(folder, 'graph.ts'));
  await test.ready(serve, 'aggregated');
  const [state] = await test.states();
  const url = state!.urls[0]!;
  expect(await waitForModel(url)).toEqual(['demo']);
  const question = 'What is prefix caching?';
  const answer = 'Prefix caching reuses the blocks of an earlier prompt when a new prompt starts with the same tokens.';
  expect(await answerOf(url, 'demo', question)).toBe(answer);
  const [scaled, ...answers] = await Promise.all([
    test.dynamo('scale', 'Worker=3'),
    ...Array.from({ length: 4 }, () => answerOf(url, 'demo', question)),
  ]);
  expect(scaled).toMatchObject({ code: 0 });
  expect(answers).toEqual([answer, answer, answer, answer]);
  expect(((await test.states())[0]?.services ?? []).map(({ name, workers }) => [name, workers.length])).toEqual([
    ['Worker', 3],
    ['Frontend', 1],
  ]);
  expect(await test.dynamo('stop')).toMatchObject({ code: 0 });
  expect(await serve.exit()).toMatchObject({ code: 0 });
});
