// Sends a burst to a graph with a planner, and the same burst to graphs of constant size.
// Usage: npm run example -- planner [-- --once] [-- --plot FILE]
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type PlottedRun, plotRuns } from 'dynamo-node/planner';
import { type Answer, arrivals, burst, DURATION_MS } from './load.js';
import { Served, type WorkerCount } from './served.js';

const [TTFT_MS, ITL_MS] = [1000, 50];

const { values: args } = parseArgs({
  options: { once: { type: 'boolean', default: false }, plot: { type: 'string' } },
});
const bursts = args.once ? 1 : 2;
const plot = args.plot ?? join(tmpdir(), 'dynamo-planner.svg');

const runs: PlottedRun[] = [];
let failures = 0;

const served = await Served.start('scaled', 1);
for (let number = 1; number <= bursts; number++)
  await measure(bursts === 1 ? 'planner' : `planner, burst ${number}`, 'planner', served);
for (const decision of served.decisions) console.log(`  ${decision}`);
await served.stop();
for (const workers of [1, 2, 4]) {
  const fixed = await Served.start('fixed', workers);
  await measure(`static ${workers}`, 'static', fixed);
  await fixed.stop();
}

console.log(`\nwithin TTFT ${TTFT_MS / 1000} s and ITL ${ITL_MS} ms     worker-seconds`);
for (const { name, goodput, gpuHours } of runs)
  console.log(`  ${name.padEnd(18)} ${(goodput * 100).toFixed(1).padStart(5)}%      ${(gpuHours * 3600).toFixed(0)}`);
writeFileSync(
  plot,
  plotRuns({
    title: 'A burst on this machine: planner and static fleets',
    durationMs: DURATION_MS,
    arrivalsMs: arrivals(),
    ttftMs: TTFT_MS,
    runs,
  }),
);
console.log(`\n${plot} has the diagram`);
if (failures > 0) {
  console.error(`${failures} requests failed`);
  process.exitCode = 1;
}

/** Sends a burst, and prints what happened. */
async function measure(name: string, kind: PlottedRun['kind'], graph: Served): Promise<void> {
  graph.count();
  const answers = await burst(graph.url);
  const isGood = ({ ttftMs, itlMs }: Answer): boolean => ttftMs <= TTFT_MS && itlMs <= ITL_MS;
  const errors = answers.flatMap(({ error }) => error ?? []);
  failures += errors.length;
  const latencies = answers.filter(({ ttftMs }) => Number.isFinite(ttftMs));
  const good = answers.filter(isGood).length;
  runs.push({
    name,
    kind,
    goodput: good / answers.length,
    gpuHours: hours(graph.counts),
    workers: graph.counts,
    latencies,
  });
  const steps = graph.counts.map(({ atMs, count }) => `${count} at ${(atMs / 1000).toFixed(1)} s`);
  console.log(`${name}: ${answers.length} requests, ${good} within the limits, ${errors.length} failed`);
  console.log(`  workers: ${steps.join(', ')}`);
  for (const error of new Set(errors)) console.log(`  ${error}`);
}

/** Workers count while their processes run. Without GPUs here, a worker stands for one. */
function hours(counts: readonly WorkerCount[]): number {
  const ms = counts.map(({ atMs, count }, index) => count * ((counts[index + 1]?.atMs ?? DURATION_MS) - atMs));
  return ms.reduce((sum, each) => sum + each, 0) / 3_600_000;
}
