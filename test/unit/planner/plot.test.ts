import { describe, expect, it } from 'vitest';
import { type PlottedRun, plotRuns } from '../../../lib/planner/core/simulate/plot.js';
import { decadesOf, ticksOf } from '../../../lib/planner/core/simulate/svg.js';

const run = (name: string, more: Partial<PlottedRun> = {}): PlottedRun => ({
  ...{ name, kind: 'planner', goodput: 0.95, gpuHours: 1.25 },
  ...more,
});

const plot = (runs: readonly PlottedRun[]): string =>
  plotRuns({ title: 'A <b> & "c"', durationMs: 60_000, arrivalsMs: [0, 30_000, 30_001], ttftMs: 2000, runs });

describe('ticksOf', () => {
  it('returns round values', () => {
    expect(ticksOf(0, 10, 5)).toEqual([0, 2, 4, 6, 8, 10]);
    expect(ticksOf(0, 0.7, 8)).toEqual([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]);
    expect(ticksOf(90, 100, 5)).toEqual([90, 92, 94, 96, 98, 100]);
    expect(decadesOf(1, 1000)).toEqual([1, 10, 100, 1000]);
  });
});

describe('plotRuns', () => {
  it('returns one SVG document that needs no other file and escapes names', () => {
    const svg = plot([run('</svg><script>alert(1)</script>')]);
    expect(svg).toMatch(/^<svg xmlns="http:\/\/www.w3.org\/2000\/svg" [^>]*role="img"/);
    expect(svg.trimEnd().match(/<\/svg>/g)).toHaveLength(1);
    expect(svg).not.toContain('<script');
    expect(svg).toContain('A &lt;b&gt; &amp; &quot;c&quot;');
    expect(svg).not.toMatch(/href|url\(|NaN|Infinity|undefined/);
  });

  it('draws the numbers of workers up to the end of the load', () => {
    const workers = [
      { atMs: 0, count: 1 },
      { atMs: 15_000, count: 4 },
      { atMs: 70_000, count: 2 },
    ];
    const svg = plot([run('a', { workers })]);
    expect(svg).toContain('>Workers<');
    const [, points = ''] = /<polyline fill="none" points="([^"]*)"/.exec(svg) ?? [];
    const places = points.split(' ').map((point) => point.split(',').map(Number));
    const [left, right] = [places[0]?.[0] ?? 0, Math.max(...places.map(([x = 0]) => x))];
    expect(places[2]?.[0]).toBeCloseTo(left + (right - left) / 4, 0);
    expect(new Set(places.slice(2, 4).map(([, y]) => y)).size).toBe(1);
  });

  it('has whole numbers of workers at its axis', () => {
    const svg = plot([run('a', { gpuHours: 0, workers: [{ atMs: 0, count: 2 }] })]);
    const [workers = ''] = /Workers<[\s\S]*?Requests within/.exec(svg) ?? [];
    const ticks = [...workers.matchAll(/>([\d.]+)<\/text>/g)].map(([, text]) => text);
    expect(ticks).toEqual(['0', '1', '2']);
  });

  it('shows the longest wait of each part of the time', () => {
    const latencies = [
      { atMs: 0, ttftMs: 10 },
      { atMs: 59_000, ttftMs: 50_000 },
    ];
    expect(plot([run('a', { latencies })])).toContain('>Longest wait for a first token<');
    expect(plot([run('a', { latencies: [] })])).not.toMatch(/NaN|Infinity/);
  });

  it('omits what is not known, and shows each run as a point', () => {
    const svg = plot([
      run('a'),
      run('static 3', { kind: 'static' }),
      run('c', { kind: 'rule', goodput: 0, gpuHours: 0 }),
    ]);
    expect(svg).not.toContain('>Workers<');
    expect(svg.match(/<title>/g)).toHaveLength(3);
    expect(svg).toContain('<title>static 3: 95.0%, 1.250</title>');
  });
});
