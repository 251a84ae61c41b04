import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RouterOptions } from 'dynamo-node';
import { arrivals, Client, type Prompts, type Sample } from './lib/arrivals.js';
import { Peer, pythonMissing, root } from './lib/peer.js';
import type { Bench, Effort, Goal, Row } from './lib/result.js';
import { Simulator } from './lib/simulated.js';
import { median, ratio, round, type Spread, spread } from './lib/stats.js';
import { withMockerVocabulary } from './lib/vocabulary.js';

const GROUPS = 16;
/** The load of a run, as a share of round-robin's knee. */
const LOAD = 0.7;
/** At the knee, round-robin's mean time to first token is this many times that of one request at a time. */
const KNEE = 3;
/** The search for the knee goes down from START times the rate of a closed loop, by the factor STEP. */
const [START, STEP] = [1.4, 0.9];
const GOAL = 0.5;

const MODES = {
  'round-robin': { mode: 'round_robin' },
  kv: { mode: 'kv' },
  'kv, prefill weighed 4 times': { mode: 'kv', kv: { prefill_load_scale: 4 } },
} as const satisfies Record<string, RouterOptions>;
type Mode = keyof typeof MODES;
const NAMES = Object.keys(MODES) as Mode[];

interface Pool {
  readonly name: string;
  readonly workers: number;
  readonly prompts: Prompts;
  readonly blockSize: number;
  /** Prefixes that fit in a worker's cache, each with the suffixes of two requests. */
  readonly cachedPrefixes: number;
  readonly model: string;
  readonly modes: readonly Mode[];
  /** Requests of the closed loops that warm the caches and measure the maximal rate. */
  readonly requests: number;
  /** Duration of one run. */
  readonly seconds: number;
  start(dir: string, folder: string): Peer[];
}

const blocksOf = ({
  prompts,
  blockSize,
  cachedPrefixes,
}: Pick<Pool, 'prompts' | 'blockSize' | 'cachedPrefixes'>): number =>
  (cachedPrefixes * (prompts.prefixTokens + 2 * prompts.suffixTokens)) / blockSize;

const MOCKERS: Pool = {
  name: 'four mockers',
  workers: 4,
  prompts: { groups: GROUPS, prefixTokens: 4096, suffixTokens: 128, answerTokens: 8 },
  blockSize: 64,
  cachedPrefixes: 8,
  model: 'served',
  modes: NAMES,
  requests: 8 * GROUPS,
  seconds: 8,
  start(dir, folder) {
    const model = ['--model-path', join(folder, 'model'), '--model-name', this.model];
    const cache = ['--block-size', String(this.blockSize), '--num-gpu-blocks-override', String(blocksOf(this))];
    return [
      Peer.pythonModule(
        'mocker',
        dir,
        'dynamo.mocker',
        ...model,
        ...cache,
        '--num-workers',
        String(this.workers),
        '--speedup-ratio',
        '1',
      ),
    ];
  },
};

const LLAMAS: Pool = {
  name: 'two tiny Llamas',
  workers: 2,
  prompts: { groups: GROUPS, prefixTokens: 1024, suffixTokens: 64, answerTokens: 8 },
  blockSize: 64,
  cachedPrefixes: 10,
  model: 'served',
  modes: ['round-robin', 'kv'],
  requests: 2 * GROUPS,
  seconds: 25,
  start(dir) {
    return Array.from({ length: this.workers }, (_, index) =>
      Peer.node(`llama ${index}`, dir, 'llama.mjs', String(this.blockSize), String(blocksOf(this))),
    );
  },
};

interface Measured {
  readonly pool: Pool;
  readonly kneePerSecond: number;
  readonly idleTtftMs: number;
  readonly ratePerSecond: number;
  readonly runs: ReadonlyMap<Mode, readonly Sample[]>;
}

/** Finds the highest rate that round-robin sustains. */
async function kneeOf(
  client: Client,
  { workers, requests }: Pool,
  seconds: number,
): Promise<{ knee: number; idleTtftMs: number }> {
  const { ttftMs } = await client.closedLoop(1, GROUPS);
  const { perSecond } = await client.closedLoop(4 * workers, requests);
  for (let knee = START * perSecond; ; knee *= STEP) {
    const tried = await client.openLoop(arrivals(1, knee, seconds, GROUPS));
    if (tried.ttftMs <= KNEE * ttftMs) return { knee, idleTtftMs: ttftMs };
  }
}

async function measure(pool: Pool, folder: string, { quick }: Effort): Promise<Measured> {
  const [runs, seconds] = quick ? [1, pool.seconds / 8] : [5, pool.seconds];
  // One deployment per mode, so that the caches of one mode do not affect another.
  const deployments = pool.modes.map((name, index) => {
    const dir = join(folder, `${pool.workers}-${index}`);
    mkdirSync(dir);
    return {
      name,
      workers: pool.start(dir, folder),
      frontend: Peer.node(`frontend ${name}`, dir, 'routing.mjs', JSON.stringify(MODES[name])),
    };
  });
  const samples = new Map<Mode, Sample[]>(pool.modes.map((name) => [name, []]));
  try {
    const clients = new Map<Mode, Client>();
    for (const { name, workers, frontend } of deployments) {
      const client = new Client(Number((await frontend.started())['port']), pool.model, pool.prompts);
      clients.set(name, client);
      await client.waitUntilServed(() => workers.map(({ log }) => log).join('\n'));
      await client.closedLoop(pool.workers, quick ? GROUPS : pool.requests);
    }
    const { knee, idleTtftMs } = await kneeOf(
      clients.get('round-robin') as Client,
      quick ? { ...pool, requests: GROUPS } : pool,
      seconds,
    );
    for (let run = 0; run < runs; run++) {
      const plan = arrivals(100 + run, knee * LOAD, seconds, GROUPS);
      for (const [name, client] of clients) samples.get(name)?.push(await client.openLoop(plan));
    }
    return {
      pool,
      kneePerSecond: round(knee),
      idleTtftMs: round(idleTtftMs),
      ratePerSecond: round(knee * LOAD),
      runs: samples,
    };
  } finally {
    for (const { frontend } of deployments) await frontend.stop();
    for (const { workers } of deployments) for (const worker of workers) await worker.terminate();
  }
}

interface SimulatedCase {
  readonly cachedPrefixes: number;
  readonly answerTokens: number;
  readonly kneePerSecond: number;
  readonly ttftMs: Record<Mode, number>;
}

/** Simulates other caches and answer lengths, each at the same share of its knee. */
async function simulate(folder: string, { quick }: Effort): Promise<SimulatedCase[]> {
  const caches = quick ? [8] : [6, 8, 12];
  const answers = quick ? [8] : [1, 8, 32];
  const cases = caches.flatMap((cachedPrefixes) => answers.map((answerTokens) => ({ cachedPrefixes, answerTokens })));
  if (!quick) cases.push({ cachedPrefixes: 2 * GROUPS, answerTokens: 8 });
  const all: SimulatedCase[] = [];
  for (const { cachedPrefixes, answerTokens } of cases) {
    const prompts = { ...MOCKERS.prompts, answerTokens };
    const simulator = new Simulator(folder, {
      ...MOCKERS,
      prompts,
      blocksPerWorker: blocksOf({ ...MOCKERS, prompts, cachedPrefixes }),
    });
    const knee = await simulator.knee(1, KNEE);
    const ttftMs = {} as Record<Mode, number>;
    for (const name of NAMES) {
      const { mode, kv: config } = MODES[name] as RouterOptions;
      const runs: number[] = [];
      for (const seed of quick ? [100] : [100, 101, 102]) {
        const plan = arrivals(seed, knee * LOAD, 20, GROUPS);
        runs.push(
          (
            await simulator.run(plan, {
              mode: mode as 'kv' | 'round_robin',
              ...(config === undefined ? {} : { config }),
            })
          ).mean_ttft_ms,
        );
      }
      ttftMs[name] = round(median(runs));
    }
    all.push({ cachedPrefixes, answerTokens, kneePerSecond: round(knee), ttftMs });
  }
  return all;
}

const of = ({ runs }: Measured, mode: Mode, field: keyof Sample): number[] =>
  (runs.get(mode) ?? []).map((run) => run[field]);

function goalsOf(measured: Measured): Goal[] {
  return measured.pool.modes.slice(1).map((mode) => {
    const share = ratio(of(measured, mode, 'ttftMs'), of(measured, 'round-robin', 'ttftMs'));
    return {
      goal: `${measured.pool.name}, ${mode}: at most half the mean time to the first token of round-robin`,
      got: `${share.median} of it, ${share.min} to ${share.max}`,
      met: share.median <= GOAL,
    };
  });
}

function rowsOf(measured: Measured): Row[] {
  const shown = ({ median: middle, min, max }: Spread): string => `${middle} (${min} to ${max})`;
  const row = (what: string, field: keyof Sample): Row => ({
    what: `${measured.pool.name}: ${what}`,
    cells: NAMES.map((mode) => (measured.runs.has(mode) ? shown(spread(of(measured, mode, field))) : '')),
  });
  return [
    row('mean time to first token, ms', 'ttftMs'),
    row('p99, ms', 'p99Ms'),
    row('cached share of the prompts', 'cachedShare'),
  ];
}

/** Time to first token if prompts share prefixes: KV routing and round-robin, with the same workers. */
export const routing: Bench = async (effort) => {
  if (pythonMissing !== undefined) return { skipped: pythonMissing };
  const folder = mkdtempSync(join(tmpdir(), 'dynamo-bench-'));
  withMockerVocabulary(`${root}examples/tiny-llama/model`, folder);
  const all: Measured[] = [];
  let simulated: SimulatedCase[] = [];
  try {
    simulated = await simulate(folder, effort);
    for (const pool of [MOCKERS, LLAMAS]) all.push(await measure(pool, folder, effort));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  const pools = all.map(
    ({
      pool: { name, workers, prompts, blockSize, cachedPrefixes, seconds },
      kneePerSecond,
      idleTtftMs,
      ratePerSecond,
    }) => ({
      ...{
        name,
        workers,
        ...prompts,
        blockSize,
        cachedPrefixes,
        seconds: effort.quick ? seconds / 8 : seconds,
        idleTtftMs,
        kneePerSecond,
        ratePerSecond,
      },
    }),
  );
  return {
    settings: {
      modes: MODES,
      loadOfKnee: LOAD,
      kneeTimesIdle: KNEE,
      arrivals: 'Poisson, each of a random group; the same for all modes of a run',
      pools,
    },
    figures: [
      ...all.flatMap((measured) =>
        measured.pool.modes.map((mode) => ({
          pool: measured.pool.name,
          mode,
          ttftMs: spread(of(measured, mode, 'ttftMs')),
          p99Ms: spread(of(measured, mode, 'p99Ms')),
          cachedShare: spread(of(measured, mode, 'cachedShare')),
        })),
      ),
      ...simulated,
    ],
    goals: all.flatMap(goalsOf),
    charts: all.map((measured) => ({
      title: `Time to first token, ${measured.pool.name}, ${measured.ratePerSecond} requests per second, ms`,
      logarithmic: false,
      series: ['mean', 'p99'],
      groups: measured.pool.modes.map((mode) => ({
        name: mode.split(', '),
        values: [spread(of(measured, mode, 'ttftMs')), spread(of(measured, mode, 'p99Ms'))],
      })),
    })),
    columns: NAMES,
    rows: [
      ...all.flatMap(rowsOf),
      ...simulated.map(({ cachedPrefixes, answerTokens, kneePerSecond, ttftMs }) => ({
        what:
          `simulated, cache of ${cachedPrefixes} prefixes, answers of ${answerTokens}, ` +
          `${round(kneePerSecond * LOAD)} per second: mean, ms`,
        cells: NAMES.map((mode) => String(ttftMs[mode])),
      })),
    ],
  };
};
