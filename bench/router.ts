import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { computeBlockHashes, computeSequenceHashes, KvIndexer, RadixTree, type RouterEvent, SelectionService } from 'dynamo-node';
import { Peer, pythonMissing } from './lib/peer.js';
import type { Bench } from './lib/result.js';
import { ratio, round, type Spread, spread } from './lib/stats.js';

const BLOCKS = [32, 512] as const;
const WORKERS = 8;
const PROMPTS = 64;
const BLOCK_SIZE = 16;
const BATCH = 64;
const GOAL_FIND = 3;

interface Figures {
  readonly perSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
}

/** Calls one after the other for so long, each timed. */
async function measured(call: () => unknown, ms: number): Promise<Figures> {
  const took: number[] = [];
  const begin = performance.now();
  for (let now = begin; now - begin < ms; ) {
    const result = call();
    if (result instanceof Promise) await result;
    const after = performance.now();
    took.push(after - now);
    now = after;
  }
  const seconds = (performance.now() - begin) / 1000;
  took.sort((a, b) => a - b);
  const at = (share: number): number => (took[Math.floor(took.length * share)] as number) * 1000;
  return { perSecond: took.length / seconds, p50Us: at(0.5), p99Us: at(0.99) };
}

async function warm(call: () => unknown, ms: number): Promise<Figures> {
  await measured(call, ms / 4);
  return measured(call, ms);
}

/** The same hashes in every run; chains of one seed are one prompt. */
function chain(seed: number, blocks: number): BigUint64Array {
  let state = BigInt(seed + 1);
  return BigUint64Array.from({ length: blocks }, () => (state = BigInt.asUintN(64, state * 6364136223846793005n + 1442695040888963407n)));
}

function stored(worker: number, seed: number, blocks: number, have = blocks): RouterEvent {
  const tokensHashes = chain(seed, blocks).subarray(0, have);
  return { kind: 'stored', workerId: BigInt(worker), blockHashes: computeSequenceHashes(tokensHashes), tokensHashes, startPosition: 0 };
}

/** What the wheel's side has: half of the workers have a prompt's whole chain, the others half of it. */
function held(blocks: number): RouterEvent[] {
  return Array.from({ length: PROMPTS }, (_, prompt) =>
    Array.from({ length: WORKERS }, (_, worker) => stored(worker, prompt, blocks, worker % 2 === 0 ? blocks : blocks / 2)),
  ).flat();
}

function cycle<T>(items: readonly T[]): () => T {
  let at = 0;
  return () => items[at++ % items.length] as T;
}

/** Chains that are new to each worker; a new tree once all workers have all. */
function applying(blocks: number, batch: number): () => void {
  const events = Array.from({ length: WORKERS }, (_, worker) => Array.from({ length: 256 }, (_, seed) => stored(worker, seed, blocks))).flat();
  let tree = new RadixTree();
  let at = 0;
  return () => {
    if (at === events.length) [tree, at] = [new RadixTree(), 0];
    tree.apply(events.slice(at, (at += batch)));
  };
}

type Case = (blocks: number, ms: number, wheel: Peer | undefined) => Promise<Figures>;

const CASES: Record<string, Case> = {
  'apply, RadixTree': (blocks, ms) => warm(applying(blocks, 1), ms),
  [`apply, RadixTree, ${BATCH} at once`]: async (blocks, ms) => {
    const figures = await warm(applying(blocks, BATCH), ms);
    return { perSecond: figures.perSecond * BATCH, p50Us: figures.p50Us / BATCH, p99Us: figures.p99Us / BATCH };
  },
  'find, RadixTree': (blocks, ms) => {
    const tree = new RadixTree();
    tree.apply(held(blocks));
    const next = cycle(Array.from({ length: PROMPTS }, (_, prompt) => chain(prompt, blocks)));
    return warm(() => tree.findMatches(next()), ms);
  },
  'find, KvIndexer in place': async (blocks, ms) => {
    await using index = new KvIndexer({ blockSize: BLOCK_SIZE });
    await index.apply(held(blocks));
    const next = cycle(Array.from({ length: PROMPTS }, (_, prompt) => chain(prompt, blocks)));
    return await warm(() => index.findMatchesSync(next()), ms);
  },
};

const WHEEL = (verb: string): Case => (blocks, ms, wheel) => (wheel as Peer).ask<Figures>({ verb, blocks, workers: WORKERS, prompts: PROMPTS, ms });

/** One request at a time, then 32: the whole choice, with its queue. */
async function selections(ms: number): Promise<Record<string, Figures>> {
  await using router = await SelectionService.create();
  for (let worker = 0; worker < WORKERS; worker++) await router.putWorker({ workerId: BigInt(worker), blockSize: BLOCK_SIZE });
  const prompts = Array.from({ length: PROMPTS }, (_, prompt) => Uint32Array.from({ length: 32 * BLOCK_SIZE }, (_, at) => prompt * 1_000_003 + at));
  for (const [at, tokens] of prompts.entries()) {
    const tokensHashes = computeBlockHashes(tokens, BLOCK_SIZE);
    await router.apply([{ kind: 'stored', workerId: BigInt(at % WORKERS), blockHashes: computeSequenceHashes(tokensHashes), tokensHashes, startPosition: 0 }]);
  }
  const next = cycle(prompts);
  const one = await warm(() => router.select({ tokens: next() }), ms);
  const booked = await warm(async () => router.free((await router.reserve({ tokens: next() })).id), ms);
  const lane = async (until: number): Promise<number> => {
    let done = 0;
    for (; performance.now() < until; done++) await router.select({ tokens: next() });
    return done;
  };
  const begin = performance.now();
  const lanes = await Promise.all(Array.from({ length: 32 }, () => lane(begin + ms)));
  const perSecond = lanes.reduce((sum, done) => sum + done, 0) / ((performance.now() - begin) / 1000);
  return { 'select, 1 at a time': one, 'reserve and free, 1 at a time': booked, 'select, 32 at a time': { perSecond, p50Us: Number.NaN, p99Us: Number.NaN } };
}

const shown = (all: readonly Figures[], field: keyof Figures): Spread => spread(all.map((figures) => figures[field]));

export const router: Bench = async ({ quick }) => {
  if (pythonMissing !== undefined) return { skipped: pythonMissing };
  const [rounds, ms] = quick ? [1, 30] : [5, 400];
  const dir = mkdtempSync(join(tmpdir(), 'dynamo-bench-'));
  const wheel = Peer.python('wheel', dir, 'index.py');
  const cases: Record<string, Case> = { ...CASES, 'apply, wheel': WHEEL('apply'), 'find, wheel': WHEEL('find') };
  const got = new Map<string, Figures[]>();
  const chosen = new Map<string, Figures[]>();
  const note = (into: Map<string, Figures[]>, name: string, figures: Figures): void => void into.set(name, [...(into.get(name) ?? []), figures]);
  try {
    await wheel.started();
    for (let turn = 0; turn < rounds; turn++) {
      for (const blocks of BLOCKS) {
        for (const [name, measure] of Object.entries(cases)) note(got, `${name}, ${blocks} blocks`, await measure(blocks, ms, wheel));
      }
      for (const [name, figures] of Object.entries(await selections(ms))) note(chosen, name, figures);
    }
  } finally {
    await wheel.stop();
    rmSync(dir, { recursive: true, force: true });
  }
  const of = (name: string, blocks: number, field: keyof Figures): number[] =>
    (got.get(`${name}, ${blocks} blocks`) as Figures[]).map((figures) => figures[field]);
  // The median call of each side: other load on the machine stretches a few calls, which the mean would show.
  const times = (name: string, blocks: number): Spread => ratio(of(`${name.split(',')[0]}, wheel`, blocks, 'p50Us'), of(name, blocks, 'p50Us'));
  const finds = BLOCKS.map((blocks) => ({ blocks, tree: times('find, RadixTree', blocks), index: times('find, KvIndexer in place', blocks) }));
  const all = new Map([...got, ...chosen]);
  const text = ({ median }: Spread, digits = 3): string => (Number.isNaN(median) ? '' : String(Number(median.toPrecision(digits))));
  return {
    settings: { rounds, ms, workers: WORKERS, prompts: PROMPTS, selectTokens: 32 * BLOCK_SIZE },
    figures: [...all].map(([what, figures]) => ({ what, perSecond: shown(figures, 'perSecond'), p50Us: shown(figures, 'p50Us'), p99Us: shown(figures, 'p99Us') })),
    goals: finds.map(({ blocks, tree, index }) => ({
      goal: `find_matches of ${blocks} blocks at least ${GOAL_FIND} times as fast as the wheel, by the median call`,
      got: `RadixTree ${round(tree.median)}, KvIndexer ${round(index.median)} times`,
      met: tree.median >= GOAL_FIND && index.median >= GOAL_FIND,
    })),
    charts: [
      {
        title: 'Calls a second',
        logarithmic: true,
        series: BLOCKS.map((blocks) => `${blocks} blocks`),
        groups: Object.keys(cases).map((name) => ({ name: name.split(', '), values: BLOCKS.map((blocks) => spread(of(name, blocks, 'perSecond'))) })),
      },
    ],
    columns: ['1/s', 'p50, us', 'p99, us'],
    rows: [...all].map(([what, figures]) => ({
      what,
      cells: [text(shown(figures, 'perSecond')), text(shown(figures, 'p50Us')), text(shown(figures, 'p99Us'))],
    })),
  };
};
