import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ColdServe, measureColdServe } from './lib/cold-serve.js';
import { Peer, pythonMissing, root } from './lib/peer.js';
import type { Bench, Goal, Row } from './lib/result.js';
import { round, type Spread, spread } from './lib/stats.js';

const TIMES = 10;
const IDLE_MS = 2000;
const GOAL_MS = 150;
const GOAL_MIB = 120;
/** Of the time of the same graph of Python components, which a shell script starts. */
const GOAL_COLD = 1 / 3;

/** The time from the start of a process to its end, in milliseconds. */
function lifetime(program: string): number {
  const begin = performance.now();
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    cwd: root,
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`the process exited with code ${status}: ${stderr}`);
  return performance.now() - begin;
}

async function idleRss(dir: string, state: string, idleMs: number): Promise<number> {
  const peer = Peer.node(state, dir, 'idle.mjs', state);
  try {
    await peer.started();
    await new Promise((resolve) => setTimeout(resolve, idleMs));
    return peer.memory().rssMiB;
  } finally {
    await peer.stop();
  }
}

const COLD_WORDS = {
  javascript: 'cold `dynamo serve` of five workers in JavaScript, ms',
  typescript: 'the same in TypeScript, which tsx loads, ms',
  python: 'the same graph in Python, started by a shell script, ms',
} as const;

const cells = ({ median, min, max }: Spread): string[] => [String(median), `${min} to ${max}`];

function coldRows({ ms, overPython }: ColdServe): Row[] {
  const { javascript, typescript } = overPython;
  const names = Object.keys(COLD_WORDS) as (keyof typeof COLD_WORDS)[];
  return [
    ...names.map((name) => ({ what: COLD_WORDS[name], cells: cells(ms[name]) })),
    { what: 'JavaScript over Python in a round', cells: cells(javascript) },
    { what: 'TypeScript over Python in a round', cells: cells(typescript) },
  ];
}

function coldGoal(cold: ColdServe | undefined): Goal {
  const goal = 'cold `dynamo serve` of five workers at most a third of the time of Python';
  if (cold === undefined) return { goal, got: String(pythonMissing), met: 'not measured' };
  const { javascript, typescript } = cold.overPython;
  const got = `${javascript.median} in JavaScript, ${typescript.median} in TypeScript`;
  return { goal, got, met: javascript.median <= GOAL_COLD };
}

/** The cost of importing the package: time and memory. Then the time until a graph answers. */
export const start: Bench = async ({ quick }) => {
  const times = quick ? 2 : TIMES;
  const idleMs = quick ? 100 : IDLE_MS;
  const empty: number[] = [];
  const imported: number[] = [];
  lifetime("import 'dynamo-node'");
  for (let index = 0; index < times; index++) {
    empty.push(lifetime(''));
    imported.push(lifetime("import 'dynamo-node'"));
  }
  const importMs = spread(imported.map((ms, index) => ms - (empty[index] as number)));
  const dir = mkdtempSync(join(tmpdir(), 'dynamo-bench-'));
  const states = ['nothing', 'import', 'client'] as const;
  const rss = new Map<string, Spread>();
  try {
    for (const state of states) {
      const samples: number[] = [];
      for (let index = 0; index < (quick ? 1 : 3); index++) samples.push(await idleRss(dir, state, idleMs));
      rss.set(state, spread(samples));
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
  const cold = pythonMissing === undefined ? await measureColdServe(quick ? 1 : TIMES) : undefined;
  const [bare, afterImport, withClient] = states.map((state) => rss.get(state) as Spread) as [Spread, Spread, Spread];
  return {
    settings: { processes: times, idleMs },
    figures: [
      { what: 'import', ms: importMs, emptyNodeMs: spread(empty), wholeProcessMs: spread(imported) },
      { what: 'rss', nodeMiB: bare, importMiB: afterImport, clientMiB: withClient },
      ...(cold === undefined ? [] : [{ what: 'cold serve', ...cold }]),
    ],
    goals: [
      { goal: `import at most ${GOAL_MS} ms`, got: `${importMs.median} ms`, met: importMs.median <= GOAL_MS },
      {
        goal: `idle RSS at most ${GOAL_MIB} MB`,
        got: `${round(withClient.median * 1.048576)} MB`,
        met: withClient.median * 1.048576 <= GOAL_MIB,
      },
      coldGoal(cold),
    ],
    charts: [
      {
        title: "import 'dynamo-node' over an empty Node.js, ms",
        logarithmic: false,
        series: ['dynamo-node'],
        groups: [{ name: ['import'], values: [importMs] }],
      },
      {
        title: 'Resident memory, idle, MiB',
        logarithmic: false,
        series: ['MiB'],
        groups: [
          { name: ['Node.js alone'], values: [bare] },
          { name: ['after the import'], values: [afterImport] },
          { name: ['runtime and client'], values: [withClient] },
        ],
      },
    ],
    columns: ['median', 'min to max'],
    rows: [
      { what: 'import, ms', cells: cells(importMs) },
      { what: 'RSS of Node.js alone, MiB', cells: cells(bare) },
      { what: 'RSS after the import, MiB', cells: cells(afterImport) },
      { what: 'RSS of an idle runtime with a client, MiB', cells: cells(withClient) },
      ...(cold === undefined ? [] : coldRows(cold)),
    ],
  };
};
