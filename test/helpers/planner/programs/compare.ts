// Compares planners and static fleets on synthetic traces, as a table of Markdown.
// Usage: compare.ts agg|disagg SEEDS SECONDS SHAPES
import { TRACE_SHAPES, type TraceShape } from 'dynamo-node/planner';
import { type Comparison, compare, dominates, type Mode } from '../compare.js';

const [mode = 'agg', seeds = '1', seconds = '900', shapes = TRACE_SHAPES.join(',')] = process.argv.slice(2);

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
const span = (values: readonly number[]): number => Math.max(...values) - Math.min(...values);

/** Means over the runs, and how far these differ. */
function row(
  name: string,
  reports: readonly { goodput: number; gpuHours: number; events: readonly unknown[] }[],
): string {
  const goodput = reports.map((report) => report.goodput * 100);
  const hours = reports.map((report) => report.gpuHours);
  const changes = mean(reports.map(({ events }) => events.length));
  const shown = (values: readonly number[], digits: number): string =>
    `${mean(values).toFixed(digits)} ± ${(span(values) / 2).toFixed(digits)}`;
  return `${name} | ${shown(goodput, 1)} | ${shown(hours, 3)} | ${changes.toFixed(0)}`;
}

/** The names of those that are better than the planner of this package in a run. */
function better({ fleets, planners }: Comparison): string[] {
  const [ours, ...others] = planners;
  if (ours === undefined) return [];
  return [...fleets, ...others].filter(({ report }) => dominates(report, ours.report)).map(({ name }) => name);
}

console.log(
  '| Trace | Who | Goodput, % | GPU-hours | Changes | Better in both |\n| --- | --- | --- | --- | --- | --- |',
);
for (const shape of shapes.split(',') as TraceShape[]) {
  const runs = seeds.split(',').map((seed) => compare(mode as Mode, shape, Number(seed), Number(seconds) * 1000));
  const [first] = runs as [Comparison, ...Comparison[]];
  const reportsOf = (kind: 'fleets' | 'planners', name: string) =>
    runs.flatMap((run) => run[kind].filter((one) => one.name === name).map(({ report }) => report));
  const names = new Set(first.fleets.map(({ name }) => name));
  // Of the static fleets only those that no other one beats.
  const front = [...names].filter((name) => {
    const [report] = reportsOf('fleets', name);
    return report !== undefined && report.goodput > 0.2 && !first.fleets.some((one) => dominates(one.report, report));
  });
  const winners = runs.flatMap(better);
  const told = [...new Set(winners)].map(
    (name) => `${name} (${winners.filter((each) => each === name).length} of ${runs.length})`,
  );
  for (const { name } of first.planners) {
    const last = name === 'dynamo-node' ? told.join(', ') || 'none' : '';
    console.log(`| ${shape} | ${row(name, reportsOf('planners', name))} | ${last} |`);
  }
  for (const name of front) console.log(`| ${shape} | ${row(`static ${name}`, reportsOf('fleets', name))} | |`);
}
