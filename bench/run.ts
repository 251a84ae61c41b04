// npm run bench [-- NAME...] [--quick]
import { existsSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { root } from './lib/peer.js';
import type { Bench } from './lib/result.js';

const NAMES = ['start', 'echo', 'frontend', 'router', 'routing', 'disagg', 'kvbm', 'nixl'] as const;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { quick: { type: 'boolean', default: false } },
});
const names = positionals.length === 0 ? [...NAMES] : positionals;
const unknown = names.find((name) => !(NAMES as readonly string[]).includes(name));
if (unknown !== undefined) fail(`unknown bench ${unknown}; expected one of ${NAMES.join(', ')}`);
if (!existsSync(`${root}dist/index.js`)) fail('dist/ is missing: run `npm run build`');

const { load, machine, versionsOfAll } = await import('./lib/machine.js');
const { svg } = await import('./lib/plot.js');
const { writeReadme } = await import('./lib/readme.js');

const bench = `${root}bench/`;
const results = options.quick ? mkdtempSync(join(tmpdir(), 'dynamo-bench-results-')) : `${bench}results`;
mkdirSync(results, { recursive: true });
for (const name of names) await run(name);
if (options.quick) console.log(`quick run: nothing is recorded; the figures are in ${results}`);
else writeReadme(bench, NAMES);

async function run(name: string): Promise<void> {
  const module = (await import(`./${name}.js`)) as Record<string, Bench>;
  const before = load();
  const begin = Date.now();
  console.log(`${name}: load ${before}`);
  const measured = await (module[name] as Bench)({ quick: options.quick });
  if ('skipped' in measured) {
    console.log(`${name}: skipped: ${measured.skipped}`);
    return;
  }
  const { charts, ...recorded } = measured;
  const tookSeconds = Math.round((Date.now() - begin) / 1000);
  const date = new Date(begin).toISOString();
  const versions = versionsOfAll();
  const { cpu, cores } = machine();
  const record = {
    name,
    date,
    tookSeconds,
    machine: machine(),
    load: { before, after: load() },
    versions,
    ...recorded,
  };
  writeFileSync(`${results}/${name}.json`, `${JSON.stringify(record, undefined, 2)}\n`);
  const software = `Node.js ${versions['node']}; Dynamo ${versions['dynamo']}`;
  const caption = `${date.slice(0, 10)}; ${cores} cores of ${cpu}; ${software}; bars: median, lines: min to max`;
  writeFileSync(`${results}/${name}.svg`, svg(charts, caption));
  for (const { goal, got, met } of recorded.goals)
    console.log(`  ${met === true ? 'met' : met === false ? 'missed' : met}: ${goal}: ${got}`);
  console.log(`${name}: ${tookSeconds} s, load ${load()}`);
}

function fail(message: string): never {
  console.error(message);
  process.exit(1);
}
