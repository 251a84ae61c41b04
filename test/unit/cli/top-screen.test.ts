import { describe, expect, it } from 'vitest';
import type { CommandIo } from '../../../lib/cli/command.js';
import { widthOf } from '../../../lib/cli/output.js';
import { topLines } from '../../../lib/cli/top-screen.js';
import { snapshot } from '../../../lib/dashboard/snapshot.js';
import { inventedInputs } from '../../helpers/dashboard/inputs.js';

const screen = (columns?: number): CommandIo =>
  ({ isTerminal: columns !== undefined, columns: columns ?? 80, env: {} }) as CommandIo;

const AT_MS = Date.UTC(2026, 0, 2);

describe('topLines', () => {
  it('shows the flow, the latencies, the planner, warnings and every instance', () => {
    const lines = topLines(screen(), snapshot(inventedInputs(1, AT_MS)));
    const text = lines.join('\n');
    expect(text).toContain('llm  ready  Decode (decode) 1/2');
    expect(text).toContain('12.5 requests/s  7 running');
    expect(text).toContain('TTFT 90ms (p95 180ms)');
    expect(text).toContain('planner: scaled, decode 2 to 3: the queue grows');
    expect(text).toContain('! discovery cannot be read: the queue grows');
    expect(text).toMatch(/Decode#0 +ready +\d+ +\d+/);
    expect(text).toMatch(/Decode#1 +backing-off/);
  });

  it.each([20, 40, 80])('stays within %i columns and 10 rows of a terminal', (columns) => {
    const lines = topLines(screen(columns), snapshot(inventedInputs(1, AT_MS, { instances: 200 })), 10);
    expect(lines.length).toBeLessThanOrEqual(10);
    for (const line of lines) expect(widthOf(line)).toBeLessThanOrEqual(columns);
    expect(lines.at(-1)).toMatch(/^and \d+/);
  });

  it('removes control characters from names and reasons', () => {
    const text = topLines(screen(), snapshot(inventedInputs(1, AT_MS, { hostile: true }))).join('\n');
    expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f]/);
  });
});
