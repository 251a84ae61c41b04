import { describe, expect, it } from 'vitest';
import { eachWantedLine } from '../../../lib/dashboard/metric-lines.js';

/** The lines that are taken, and the names that were looked up. */
function taken(text: string, wanted: readonly string[]): { lines: [string, string][]; asked: string[] } {
  const lines: [string, string][] = [];
  const asked: string[] = [];
  const isWanted = (name: string): boolean => {
    asked.push(name);
    return wanted.includes(name);
  };
  eachWantedLine(text, isWanted, (name, line) => lines.push([name, line]));
  return { lines, asked };
}

describe('eachWantedLine', () => {
  it('takes wanted lines with labels, without labels and with a tab, also without a newline at the end', () => {
    const text = '# HELP a b\na{x="1"} 1\nb 2\na\t3\n\na 4';
    expect(taken(text, ['a']).lines).toEqual([
      ['a', 'a{x="1"} 1'],
      ['a', 'a\t3'],
      ['a', 'a 4'],
    ]);
  });

  it('does not take a metric for another whose name begins with its name, in either order', () => {
    const text = 'a 1\na_total 2\na 3\na_total{x="a "} 4\nab\n';
    expect(taken(text, ['a']).lines.map(([, line]) => line)).toEqual(['a 1', 'a 3']);
    expect(taken(text, ['a_total']).lines.map(([, line]) => line)).toEqual(['a_total 2', 'a_total{x="a "} 4']);
  });

  it('looks a name up once for the lines of a metric, also with comments among them', () => {
    const worker = (id: number): string => `a{worker_id="${id}"} 1\n`;
    const text = `${worker(1)}# TYPE a gauge\n${worker(2)}${worker(3)}b{a="1"} 1\nb 2\n`;
    const { lines, asked } = taken(text, ['a']);
    expect(lines).toHaveLength(3);
    expect(asked).toEqual(['a', 'b']);
  });

  it('takes nothing from a text without samples', () => {
    expect(taken('', ['a']).lines).toEqual([]);
    expect(taken('#\n\n{}\n', ['a']).lines).toEqual([]);
  });
});
