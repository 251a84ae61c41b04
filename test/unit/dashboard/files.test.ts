import { appendFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { DecisionFile } from '../../../lib/dashboard/decision-file.js';
import { LogTail } from '../../../lib/dashboard/log-tail.js';

vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>();
  return { ...real, open: vi.fn(real.open) };
});

let folder: string;
let file: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'dashboard-files-'));
  file = join(folder, 'Worker-0.log');
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

const line = (index: number): string => `2026-01-01T00:00:00.000Z line ${index}\n`;
const lines = (from: number, to: number): string =>
  Array.from({ length: to - from }, (_, index) => line(from + index)).join('');
const texts = (part: { lines: readonly { text: string }[] }): string[] => part.lines.map(({ text }) => text);

describe('LogTail', () => {
  it('returns the last lines first, then those that were added', async () => {
    writeFileSync(file, lines(0, 10));
    const tail = new LogTail(file, 2);
    expect(await tail.read()).toEqual({
      lines: [8, 9].map((index) => ({ time: '2026-01-01T00:00:00.000Z', text: `line ${index}` })),
      skippedBytes: 0,
    });
    expect(texts(await tail.read())).toEqual([]);
    appendFileSync(file, lines(10, 12));
    expect(texts(await tail.read())).toEqual(['line 10', 'line 11']);
  });

  it('returns a line when it is complete', async () => {
    writeFileSync(file, 'T half');
    const tail = new LogTail(file, 5);
    expect(texts(await tail.read())).toEqual([]);
    appendFileSync(file, ' and half\n');
    expect(texts(await tail.read())).toEqual(['half and half']);
  });

  it('goes on in the new file when the old one was put aside', async () => {
    writeFileSync(file, lines(0, 3));
    const tail = new LogTail(file, 5);
    await tail.read();
    appendFileSync(file, lines(3, 4));
    renameSync(file, `${file}.1`);
    writeFileSync(file, lines(4, 6));
    expect(texts(await tail.read())).toEqual(['line 3', 'line 4', 'line 5']);
    appendFileSync(file, lines(6, 7));
    expect(texts(await tail.read())).toEqual(['line 6']);
  });

  it('leaves out what is more than a part, and says how much', async () => {
    writeFileSync(file, line(0));
    const tail = new LogTail(file, 1);
    await tail.read();
    const added = lines(1, 40_000);
    appendFileSync(file, added);
    const { lines: read, skippedBytes } = await tail.read();
    const kept = read.reduce((sum, { time, text }) => sum + time.length + text.length + 2, 0);
    expect(kept).toBeLessThanOrEqual(512 * 1024);
    expect(skippedBytes + kept).toBe(added.length);
    expect(read.at(-1)?.text).toBe('line 39999');
  });

  it('waits for a file that is not there yet', async () => {
    const tail = new LogTail(file, 5);
    expect(texts(await tail.read())).toEqual([]);
    writeFileSync(file, lines(0, 2));
    expect(texts(await tail.read())).toEqual(['line 0', 'line 1']);
  });
});

const decision = (tick: number, outcome: string, target = 2): string =>
  `${JSON.stringify({
    schema: 'dynamo.planner.decision/v1',
    tick,
    atMs: tick * 1000,
    outcome,
    targets: { worker: target },
    reasons: [{ role: 'worker', code: 'demand', text: `tick ${tick}`, values: {} }],
    errors: [],
    snapshot: { pools: { worker: { desired: 2, ready: 1 } } },
  })}\n`;

describe('DecisionFile', () => {
  it('reads decisions with their pools and reasons, and later those that were added', async () => {
    writeFileSync(file, decision(1, 'scaled', 3));
    const decisions = new DecisionFile(file);
    expect(await decisions.read()).toEqual([
      {
        tick: 1,
        atMs: 1000,
        outcome: 'scaled',
        pools: [{ role: 'worker', desired: 2, ready: 1, target: 3 }],
        reasons: [{ role: 'worker', code: 'demand', text: 'tick 1' }],
        errors: [],
      },
    ]);
    appendFileSync(file, decision(2, 'unchanged'));
    expect((await decisions.read()).map(({ tick }) => tick)).toEqual([1, 2]);
  });

  it('keeps only the last of decisions that change nothing for the same reasons', async () => {
    writeFileSync(file, [1, 2, 3].map((tick) => decision(tick, 'unchanged')).join('') + decision(4, 'scaled', 5));
    expect((await new DecisionFile(file).read()).map(({ tick }) => tick)).toEqual([3, 4]);
  });

  it('skips lines that are no decisions, and keeps 50', async () => {
    writeFileSync(file, 'no JSON\n{}\n');
    appendFileSync(file, Array.from({ length: 80 }, (_, tick) => decision(tick, 'scaled', tick)).join(''));
    const read = await new DecisionFile(file).read();
    expect(read).toHaveLength(50);
    expect(read.at(-1)?.tick).toBe(79);
  });

  it('opens the file only if it has changed or was replaced', async () => {
    const decisions = new DecisionFile(file);
    const opened = vi.mocked(open);
    const read = async (): Promise<{ ticks: number[]; opens: number }> => {
      opened.mockClear();
      const ticks = (await decisions.read()).map(({ tick }) => tick);
      return { ticks, opens: opened.mock.calls.length };
    };
    expect(await read()).toEqual({ ticks: [], opens: 0 });
    writeFileSync(file, decision(1, 'scaled', 3));
    expect(await read()).toEqual({ ticks: [1], opens: 1 });
    expect(await read()).toEqual({ ticks: [1], opens: 0 });
    writeFileSync(`${file}.new`, decision(2, 'scaled', 3));
    renameSync(`${file}.new`, file);
    expect(await read()).toEqual({ ticks: [1, 2], opens: 1 });
    rmSync(file);
    expect(await read()).toEqual({ ticks: [1, 2], opens: 0 });
  });

  it('returns nothing without a file', async () => {
    expect(await new DecisionFile(join(folder, 'none')).read()).toEqual([]);
  });
});
