import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Peer, root } from './lib/peer.js';
import type { Bench } from './lib/result.js';
import { round, type Spread, spread } from './lib/stats.js';

const TIMES = 10;
const IDLE_MS = 2000;
const GOAL_MS = 150;
const GOAL_MIB = 120;

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

/** The cost of importing the package: time and memory. */
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
  const [bare, afterImport, withClient] = states.map((state) => rss.get(state) as Spread) as [Spread, Spread, Spread];
  return {
    settings: { processes: times, idleMs },
    figures: [
      { what: 'import', ms: importMs, emptyNodeMs: spread(empty), wholeProcessMs: spread(imported) },
      { what: 'rss', nodeMiB: bare, importMiB: afterImport, clientMiB: withClient },
    ],
    goals: [
      { goal: `import at most ${GOAL_MS} ms`, got: `${importMs.median} ms`, met: importMs.median <= GOAL_MS },
      {
        goal: `idle RSS at most ${GOAL_MIB} MB`,
        got: `${round(withClient.median * 1.048576)} MB`,
        met: withClient.median * 1.048576 <= GOAL_MIB,
      },
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
      { what: 'import, ms', cells: [String(importMs.median), `${importMs.min} to ${importMs.max}`] },
      { what: 'RSS of Node.js alone, MiB', cells: [String(bare.median), `${bare.min} to ${bare.max}`] },
      {
        what: 'RSS after the import, MiB',
        cells: [String(afterImport.median), `${afterImport.min} to ${afterImport.max}`],
      },
      {
        what: 'RSS of an idle runtime with a client, MiB',
        cells: [String(withClient.median), `${withClient.min} to ${withClient.max}`],
      },
    ],
  };
};
