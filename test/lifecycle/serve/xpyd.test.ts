import { describe, expect, it } from 'vitest';
import { ServeTest } from '../../helpers/deploy/serve.js';
import { MODEL } from '../../helpers/router/disaggregated-engines.js';
import { waitFor } from '../../helpers/wait.js';

const target = 'test/helpers/deploy/graphs/disaggregated.ts';
const NAME = 'disaggregated-test';

/** Routers need a moment to learn that an instance has left. */
const test = (): ServeTest => new ServeTest({ DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS: '1' });

describe('dynamo scale with a text like 3P2D', () => {
  it('adds and removes prefill and decode workers while clients stream, and no request fails', async () => {
    await using serving = test();
    const serve = serving.serve([], target);
    await serving.ready(serve, NAME);
    const [state] = await serving.states();
    const frontend = state?.services.find(({ name }) => name === 'Frontend')?.workers[0]?.url as string;
    const ask = async (): Promise<string> => {
      const response = await fetch(`${frontend}/v1/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ model: MODEL, prompt: [300, 301, 302], max_tokens: 6, stream: true }),
      });
      const text = await response.text();
      return response.ok && text.includes('"finish_reason":"length"') ? 'ok' : `${response.status} ${text.slice(-200)}`;
    };
    await waitFor('an answer', ask, (answer) => answer === 'ok');

    const answers: string[] = [];
    let isOver = false;
    const clients = Array.from({ length: 4 }, async () => {
      while (!isOver) answers.push(await ask());
    });
    for (const [shape, counts] of [
      ['2P1D', 'Frontend=1 Prefill=2 Decode=1'],
      ['1P3D', 'Frontend=1 Prefill=1 Decode=3'],
      ['3P2D', 'Frontend=1 Prefill=3 Decode=2'],
      ['1p1d', 'Frontend=1 Prefill=1 Decode=1'],
    ] as const) {
      const { code, stdout, stderr } = await serving.dynamo('scale', shape);
      expect([code, stderr]).toEqual([0, '']);
      expect(stdout.trim().split(' has ')[1]?.split(' ').sort()).toEqual(counts.split(' ').sort());
      const seen = answers.length;
      await waitFor(
        'answers of the new shape',
        () => answers.length - seen,
        (count) => count >= 20,
      );
    }
    isOver = true;
    await Promise.all(clients);
    expect(answers.filter((answer) => answer !== 'ok')).toEqual([]);
  });
});
