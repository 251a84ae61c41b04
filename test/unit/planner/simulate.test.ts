import { simulate, synthesizeTrace, type TraceShape } from 'dynamo-node/planner';
import { describe, expect, it } from 'vitest';
import { compare, dominates, type Mode, ours, SLA, scenario } from '../../helpers/planner/compare.js';
import { mockerEngine, mockerTime } from '../../helpers/planner/engine.js';

const shapes: readonly TraceShape[] = [
  'flat',
  'steps',
  'bursts',
  'diurnal',
  'spike',
  'long-prompts',
  'sawtooth',
  'waves',
];

describe('a synthetic trace', () => {
  it.each(shapes)('%s is the same for the same seed, and in order', (shape) => {
    const trace = (seed: number) =>
      synthesizeTrace({ shape, seed, durationMs: 60_000, rate: 5, inputTokens: 100, outputTokens: 10 });
    expect(trace(1)).toEqual(trace(1));
    expect(trace(1)).not.toEqual(trace(2));
    const times = trace(1).map(({ atMs }) => atMs);
    expect(times).toEqual([...times].sort((a, b) => a - b));
  });

  it('has the mean rate and the mean lengths', () => {
    const options = { seed: 3, durationMs: 2_000_000, rate: 10, inputTokens: 500, outputTokens: 50 };
    const trace = synthesizeTrace({ shape: 'flat', ...options });
    const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
    expect(trace.length / 20_000).toBeCloseTo(1, 1);
    expect(mean(trace.map(({ inputTokens }) => inputTokens)) / 500).toBeCloseTo(1, 1);
    expect(mean(trace.map(({ outputTokens }) => outputTokens)) / 50).toBeCloseTo(1, 1);
  });
});

describe('a simulation', () => {
  const base = { engine: mockerEngine, coldStartMs: 30_000, ...SLA };
  const one = { atMs: 0, inputTokens: 1000, outputTokens: 11 };

  it('takes the times of its passes for one request', () => {
    const report = simulate({ ...base, trace: [one], initial: { worker: 1 } });
    expect(report.meanTtftMs).toBeCloseTo(mockerTime(1000, 0, 0), 6);
    expect(report.meanItlMs).toBeCloseTo(mockerTime(0, 1, 1005.5), 3);
    expect(report).toMatchObject({ requests: 1, goodput: 1, events: [] });
  });

  it('computes the prompt elsewhere than the answer in a disaggregated fleet', () => {
    const report = simulate({ ...base, trace: [one], initial: { prefill: 1, decode: 1 } });
    expect(report.meanTtftMs).toBeCloseTo(mockerTime(1000, 0, 0), 6);
    expect(report.goodput).toBe(1);
  });

  it('completes each request of an overloaded fleet', () => {
    const trace = Array.from({ length: 500 }, (_, index) => ({ ...one, atMs: index }));
    const report = simulate({ ...base, trace, initial: { worker: 1 } });
    expect(report.requests).toBe(500);
    expect(report.goodput).toBeLessThan(1);
    expect(Number.isFinite(report.meanItlMs + report.meanTtftMs)).toBe(true);
  });

  it('starts workers after their cold start and counts them from their start', () => {
    const { trace } = scenario('flat', 1, 100_000);
    const policy = ({ nowMs }: { nowMs: number }) => ({
      targets: { worker: nowMs < 10_000 ? 8 : nowMs < 60_000 ? 8 : 6 },
      nextTickMs: nowMs + 5000,
    });
    const [grown, constant] = [
      simulate({ ...base, trace, initial: { worker: 6 }, policy }),
      simulate({ ...base, trace, initial: { worker: 6 } }),
    ];
    expect(grown.events.map(({ atMs, from, to }) => [atMs, from, to])).toEqual([
      [5000, 6, 8],
      [60_000, 8, 6],
    ]);
    expect((grown.gpuHours - constant.gpuHours) * 3600).toBeGreaterThan(2 * 54);
    expect((grown.gpuHours - constant.gpuHours) * 3600).toBeLessThan(2 * 65);
  });
});

describe('the planner in a simulation', () => {
  it.each([1, 2, 3])('never oscillates under a constant load, seed %i', (seed) => {
    const base = scenario('flat', seed, 900_000);
    const { events, fewest, goodput } = simulate({ ...base, initial: { worker: 4 }, policy: ours('agg') });
    // At most one correction while it learns: up, and down again.
    expect(events.length).toBeLessThanOrEqual(2);
    expect(fewest.worker).toBe(4);
    expect(goodput).toBeGreaterThan(0.999);
  });

  it.each(shapes)('never has fewer workers than configured, shape %s', (shape) => {
    const base = scenario(shape, 4, 300_000);
    const pools = { worker: { minWorkers: 2 } };
    const { fewest } = simulate({ ...base, initial: { worker: 2 }, policy: ours('agg', { pools }) });
    expect(fewest.worker).toBeGreaterThanOrEqual(2);
  });

  it.each([
    ['agg', 'diurnal'],
    ['agg', 'spike'],
    ['disagg', 'diurnal'],
  ] as const)('is beaten by no static fleet and no rule of the Python planner, %s under %s', (mode: Mode, shape) => {
    const { fleets, planners } = compare(mode, shape, 5, 600_000);
    const [own, ...rules] = planners;
    const better = [...fleets, ...rules].filter(({ report }) =>
      dominates(report, (own as (typeof rules)[number]).report),
    );
    expect(better.map(({ name }) => name)).toEqual([]);
  });
});
