import { expect, it } from 'vitest';
import { runExample } from '../../helpers/examples/run.js';

it('the example move-blocks moves its blocks to another process, checks them, and reports the transport', async () => {
  const lines = await runExample('move-blocks', ['100'], { NIXL_LOG_LEVEL: 'FATAL' });
  const text = lines.join('\n');
  expect(text).toMatch(/^transport [\w-]+ \((reported|by-exclusion|inferred)/m);
  const [, sender] = /^moved {5}100 blocks of 64 KiB from process (\d+): [\d.]+ GB\/s/m.exec(text) ?? [];
  const [, receiver] = /^checked {3}process (\d+) has every byte as sent/m.exec(text) ?? [];
  expect(Number(sender)).toBeGreaterThan(0);
  expect(Number(receiver)).toBeGreaterThan(0);
  expect(receiver).not.toBe(sender);
  expect(text).toMatch(/^memcpy {4}in one process: [\d.]+ GB\/s/m);
});
