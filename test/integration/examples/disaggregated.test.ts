import { expect, it } from 'vitest';
import { runExample } from '../../helpers/examples/run.js';

it('the example disaggregated answers from moved blocks, and explains who did what', async () => {
  const lines = await runExample('disaggregated', ['--once']);
  const of = (name: string): string[] =>
    lines.filter((line) => line.startsWith(name.padEnd(10))).map((line) => line.slice(10));
  const processes = ['prefill', 'decode', 'frontend'].map((name) => of(name)[0]);
  expect(new Set(processes).size).toBe(3);
  const [first, , last] = of('answer');
  expect(first).toMatch(/^KVBM is the KV block manager/);
  expect(last).toBe(first);
  expect(of('handoff')).toEqual([
    expect.stringMatching(/^33 prompt tokens from worker \d+: 0 cached here, 2 blocks \(64 KiB\) in [\d.]+ ms by /),
    expect.stringMatching(/: 16 cached here, 1 blocks \(32 KiB\) in [\d.]+ ms by /),
    expect.stringMatching(/: 32 cached here, nothing to move, handoff [\d.]+ ms$/),
  ]);
  expect(of('cached')).toEqual([
    '0 tokens at the prefill worker, 0 at the decode worker',
    '16 tokens at the prefill worker, 16 at the decode worker',
    '32 tokens at the prefill worker, 32 at the decode worker',
  ]);
  expect(of('transport')[0]).toMatch(/^\S+ \((reported|by-exclusion|inferred)\)$/);
});
