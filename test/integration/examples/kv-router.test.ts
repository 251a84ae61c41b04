import { expect, it } from 'vitest';
import { runExample } from '../../helpers/examples/run.js';

it('the example kv-router sends each prefix to the worker that has it, and explains the choice', async () => {
  const lines = await runExample('kv-router');
  const rows = lines.flatMap((line) => {
    const [, manual, question, worker, tokens, cached] =
      /^(blue|green), question (\d) +(\d+) +(\d+) +(\d+)$/.exec(line) ?? [];
    return manual === undefined
      ? []
      : [{ manual, question: Number(question), worker, share: Number(cached) / Number(tokens) }];
  });
  expect(rows).toHaveLength(6);
  for (const manual of ['blue', 'green']) {
    const own = rows.filter((row) => row.manual === manual);
    expect(new Set(own.map(({ worker }) => worker)).size).toBe(1);
    expect(own.map(({ question, share }) => [question, share > 0.8])).toEqual([
      [1, false],
      [2, true],
      [3, true],
    ]);
  }
  const text = lines.join('\n');
  expect(text).toMatch(/^→ .*×1 +[\d.]+$/m);
  expect(text).toMatch(/worker \d+: the lowest cost, .* blocks of credit for its cache/);
  expect(lines.length).toBeLessThan(24);
});
