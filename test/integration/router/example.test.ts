import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { root } from '../../helpers/project.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';

describe('the example kv-aware', () => {
  it('shows two workers, their shared prefixes, and the reasons of the router', async () => {
    const child = spawn(process.execPath, ['--import', 'tsx', join(root, 'examples/kv-aware/main.ts'), '--once'], {
      cwd: root,
      env: { ...process.env, TMPDIR: temporaryFolder() },
    });
    let [text, error] = ['', ''];
    child.stdout.on('data', (part: Buffer) => (text += part));
    child.stderr.on('data', (part: Buffer) => (error += part));
    const [code] = (await once(child, 'exit')) as [number | null];
    expect(code, error).toBe(0);
    const rows = [...text.matchAll(/^(blue|green), question (\d) +([AB]) +(\d+) +(\d+)$/gm)].map(
      ([, manual, question, worker, tokens, cached]) => ({
        manual,
        question: Number(question),
        worker,
        share: Number(cached) / Number(tokens),
      }),
    );
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
    expect(text).toMatch(/^→ .*×1 +[\d.]+$/m);
    expect(text).toMatch(/worker \d+: the lowest cost, .* blocks of credit for its cache/);
    expect(text.split('\n').length).toBeLessThan(24);
  }, 180_000);
});
