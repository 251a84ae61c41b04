import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { execute, root } from '../../helpers/project.js';

describe('the example disaggregated', () => {
  it('answers from moved blocks, and explains who did what', async () => {
    const { stdout } = await execute(process.execPath, [
      '--import',
      'tsx',
      join(root, 'examples/disaggregated/main.ts'),
      '--once',
    ]);
    const lines = (name: string): string[] =>
      stdout
        .split('\n')
        .filter((line) => line.startsWith(name.padEnd(10)))
        .map((line) => line.slice(10));
    const [prefill, decode, frontend] = ['prefill', 'decode', 'frontend'].map((name) => lines(name)[0]);
    expect(new Set([prefill, decode, frontend]).size).toBe(3);
    const [first, , last] = lines('answer');
    expect(first).toMatch(/^KVBM is the KV block manager/);
    expect(last).toBe(first);
    expect(lines('handoff')).toEqual([
      expect.stringMatching(/^33 prompt tokens from worker \d+: 0 cached here, 2 blocks \(64 KiB\) in [\d.]+ ms by /),
      expect.stringMatching(/: 16 cached here, 1 blocks \(32 KiB\) in [\d.]+ ms by /),
      expect.stringMatching(/: 32 cached here, nothing to move, handoff [\d.]+ ms$/),
    ]);
    expect(lines('cached')).toEqual([
      '0 tokens at the prefill worker, 0 at the decode worker',
      '16 tokens at the prefill worker, 16 at the decode worker',
      '32 tokens at the prefill worker, 32 at the decode worker',
    ]);
    expect(lines('transport')[0]).toMatch(/^\S+ \((reported|by-exclusion|inferred)\)$/);
  });
});
