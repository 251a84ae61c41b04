import { expect, it } from 'vitest';
import { runExample } from '../../helpers/examples/run.js';

it('the example disaggregated answers from moved blocks, and explains who did what', async () => {
  const lines = await runExample('disaggregated', ['--once']);
  const of = (name: string): string[] =>
    lines.filter((line) => line.startsWith(name.padEnd(10))).map((line) => line.slice(10));
  const [prefill, decode, frontend] = ['prefill', 'decode', 'frontend'].map((name) => of(name)[0]?.split(' ')[1]);
  expect(new Set([prefill, decode, frontend]).size).toBe(3);
  const [first, , last] = of('answer');
  expect(first).toMatch(/^KVBM is the KV block manager/);
  expect(last).toBe(first);
  expect(of('prefill').slice(1)).toEqual([
    `process ${prefill} computed 33 of 33 prompt tokens, 0 were cached`,
    `process ${prefill} computed 17 of 33 prompt tokens, 16 were cached`,
    `process ${prefill} computed 1 of 33 prompt tokens, 32 were cached`,
  ]);
  expect(of('moved')).toEqual([
    expect.stringMatching(/^2 blocks, 64 KiB, in [\d.]+ ms, [\d.]+ GB\/s, by (mock of )?NIXL; handoff [\d.]+ ms$/),
    expect.stringMatching(/^1 block, 32 KiB, in [\d.]+ ms, /),
    expect.stringMatching(/^nothing: the decode worker had every block; handoff [\d.]+ ms$/),
  ]);
  expect(of('transport')[0]).toMatch(/^\S+ \((reported|by-exclusion|inferred)\)$/);
  expect(of('decode').slice(1)).toEqual([
    `process ${decode} answered, and had 0 prompt tokens cached`,
    `process ${decode} answered, and had 16 prompt tokens cached`,
    `process ${decode} answered, and had 32 prompt tokens cached`,
  ]);
});
