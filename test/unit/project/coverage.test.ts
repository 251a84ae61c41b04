import { describe, expect, it } from 'vitest';
import { mergeLines } from '../../../scripts/coverage/read.mjs';
import { leastCovered, tableOf } from '../../../scripts/coverage/table.mjs';

const line = (line_number: number, count: number) => ({ line_number, count });

describe('coverage', () => {
  it('counts a line as covered if one of its objects ran it', () => {
    const records = [
      { file: 'native/nixl/agent.h', lines: [line(1, 0), line(2, 0)] },
      { file: 'native/nixl/agent.h', lines: [line(1, 3), line(2, 0), line(5, 1)] },
      { file: '/usr/include/c++/12/vector', lines: [line(1, 1)] },
    ];
    const merged = mergeLines(records, (file) => file.startsWith('native/'));
    expect([...merged]).toEqual([['native/nixl/agent.h', { covered: 2, total: 3 }]]);
  });

  const files = new Map([
    ['lib/errors.ts', { covered: 9, total: 10 }],
    ['lib/kvbm/tiers.ts', { covered: 5, total: 20 }],
    ['lib/kvbm/blocks.ts', { covered: 20, total: 20 }],
    ['native/core/src/kvbm/pool.rs', { covered: 30, total: 30 }],
    ['native/core/src/tiny.rs', { covered: 0, total: 3 }],
  ]);

  it('returns the lines of each area and of all', () => {
    expect(
      tableOf(files)
        .split('\n')
        .map((row) => row.split(/\s+/)),
    ).toEqual([
      ['area', 'lines', 'covered'],
      ['lib', '10', '90.0%'],
      ['lib/kvbm', '40', '62.5%'],
      ['native/core', '33', '90.9%'],
      ['all', '83', '77.1%'],
    ]);
  });

  it('names the longer of two files that are covered alike first', () => {
    const alike = [20, 50].map((total) => [`lib/${total}.ts`, { covered: 0, total }] as const);
    expect(leastCovered(new Map(alike), 1)).toContain('lib/50.ts (50 lines)');
  });

  it('names the least covered files that are not tiny', () => {
    expect(
      leastCovered(files, 2)
        .split('\n')
        .map((row) => row.trim()),
    ).toEqual(['25.0%  lib/kvbm/tiers.ts (20 lines)', '90.0%  lib/errors.ts (10 lines)']);
  });
});
