import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  computeBlockHashes,
  computeSequenceHashes,
  KvIndexer,
  RadixTree,
  type RouterEvent,
  SelectionService,
} from 'dynamo-node';
import { buildPeer, Peer, pythonMissing } from './lib/peer.js';
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

function figuresOf(latencies: number[], ms: number): Figures {
  latencies.sort((a, b) => a - b);
  const at = (share: number): number => (latencies[Math.floor(latencies.length * share)] as number) * 1000;
  return { perSecond: latencies.length / (ms / 1000), p50Us: at(0.5), p99Us: at(0.99) };
}

/** Times sequential calls for `ms` milliseconds. */
async function measured(call: () => unknown, ms: number): Promise<Figures> {
  const latencies: number[] = [];
  const begin = performance.now();
  for (let now = begin; now - begin < ms; ) {
    const result = call();
    if (result instanceof Promise) await result;
    const after = performance.now();
    latencies.push(after - now);
    now = after;
  }
  return figuresOf(latencies, performance.now() - begin);
}

async function measuredWarm(call: () => unknown, ms: number): Promise<Figures> {
  await measured(call, ms / 4);
  return measured(call, ms);
}

/** The hashes of a prompt. A seed gives the same hashes in every run. */
function chain(seed: number, blocks: number): BigUint64Array {
  let state = BigInt(seed + 1);
  return BigUint64Array.from(
    { length: blocks },
    () => (state = BigInt.asUintN(64, state * 6364136223846793005n + 1442695040888963407n)),
  );
}

function stored(worker: number, seed: number, blocks: number, storedBlocks = blocks): RouterEvent {
  const tokensHashes = chain(seed, blocks).subarray(0, storedBlocks);
  return {
    kind: 'stored',
    workerId: BigInt(worker),
    blockHashes: computeSequenceHashes(tokensHashes),
    tokensHashes,
    startPosition: 0,
  };
}

/** The cache of the workers, as in the wheel's bench. Every second worker has only half of each prompt. */
function cachedEvents(blocks: number): RouterEvent[] {
  return Array.from({ length: PROMPTS }, (_, prompt) =>
    Array.from({ length: WORKERS }, (_, worker) =>
      stored(worker, prompt, blocks, worker % 2 === 0 ? blocks : blocks / 2),
    ),
  ).flat();
}

function cycle<T>(items: readonly T[]): () => T {
  let at = 0;
  return () => items[at++ % items.length] as T;
}

/** Applies prompts that are new to each worker. Begins a new tree after all prompts. */
function applying(blocks: number, batch: number): () => void {
  const events = Array.from({ length: WORKERS }, (_, worker) =>
    Array.from({ length: 256 }, (_, seed) => stored(worker, seed, blocks)),
  ).flat();
  let tree = new RadixTree();
  let at = 0;
  return () => {
    if (at === events.length) [tree, at] = [new RadixTree(), 0];
    tree.apply(events.slice(at, (at += batch)));
  };
}

type Case = (blocks: number, ms: number) => Promise<Figures>;

const CASES: Record<string, Case> = {
  'apply, RadixTree': (blocks, ms) => measuredWarm(applying(blocks, 1), ms),
  [`apply, RadixTree, ${BATCH} at once`]: async (blocks, ms) => {
    const figures = await measuredWarm(applying(blocks, BATCH), ms);
    return { perSecond: figures.perSecond * BATCH, p50Us: figures.p50Us / BATCH, p99Us: figures.p99Us / BATCH };
  },
  'find, RadixTree': (blocks, ms) => {
    const tree = new RadixTree();
    tree.apply(cachedEvents(blocks));
    const next = cycle(Array.from({ length: PROMPTS }, (_, prompt) => chain(prompt, blocks)));
    return measuredWarm(() => tree.findMatches(next()), ms);
  },
  'find, KvIndexer in place': async (blocks, ms) => {
    await using index = new KvIndexer({ blockSize: BLOCK_SIZE });
    await index.apply(cachedEvents(blocks));
    const next = cycle(Array.from({ length: PROMPTS }, (_, prompt) => chain(prompt, blocks)));
    return await measuredWarm(() => index.findMatchesSync(next()), ms);
  },
};

const peerFigures = (peer: Peer, verb: string, blocks: number, ms: number): Promise<Figures> =>
  peer.call<Figures>({ verb, blocks, workers: WORKERS, prompts: PROMPTS, blockSize: BLOCK_SIZE, ms });

/** Blocks of each prompt of a selection. One of the workers has them. */
const SELECTED_BLOCKS = 32;
const LANES = 32;
const SELECTIONS = {
  'select, 1 at a time': 'select',
  'reserve and free, 1 at a time': 'reserve',
  [`select, ${LANES} at a time`]: 'selectMany',
};

/** Measures the whole choice, including its queue. */
async function selections(ms: number): Promise<Figures[]> {
  await using router = await SelectionService.create();
  for (let worker = 0; worker < WORKERS; worker++)
    await router.putWorker({ workerId: BigInt(worker), blockSize: BLOCK_SIZE });
  const prompts = Array.from({ length: PROMPTS }, (_, prompt) =>
    Uint32Array.from({ length: SELECTED_BLOCKS * BLOCK_SIZE }, (_, at) => prompt * 1_000_003 + at),
  );
  for (const [at, tokens] of prompts.entries()) {
    const tokensHashes = computeBlockHashes(tokens, BLOCK_SIZE);
    await router.apply([
      {
        kind: 'stored',
        workerId: BigInt(at % WORKERS),
        blockHashes: computeSequenceHashes(tokensHashes),
        tokensHashes,
        startPosition: 0,
      },
    ]);
  }
  const next = cycle(prompts);
  const select = (): Promise<unknown> => router.select({ tokens: next() });
  const one = await measuredWarm(select, ms);
  const reserved = await measuredWarm(async () => router.free((await router.reserve({ tokens: next() })).id), ms);
  return [one, reserved, await concurrent(select, ms)];
}

async function concurrent(call: () => Promise<unknown>, ms: number): Promise<Figures> {
  const lanes = async (limit: number): Promise<Figures> => {
    const latencies: number[] = [];
    const begin = performance.now();
    const lane = async (): Promise<void> => {
      for (let now = performance.now(); now - begin < limit; ) {
        await call();
        const after = performance.now();
        latencies.push(after - now);
        now = after;
      }
    };
    await Promise.all(Array.from({ length: LANES }, lane));
    return figuresOf(latencies, performance.now() - begin);
  };
  await lanes(ms / 4);
  return lanes(ms);
}

/** Index and selection: in this package, on the crates, and in the wheel, in turn. */
export const router: Bench = async ({ quick }) => {
  if (pythonMissing !== undefined) return { skipped: pythonMissing };
  buildPeer('index_peer');
  const [rounds, ms] = quick ? [1, 30] : [5, 400];
  const dir = mkdtempSync(join(tmpdir(), 'dynamo-bench-'));
  const wheel = Peer.python('wheel', dir, 'index.py');
  const crate = Peer.compiled('crate', dir, 'index_peer');
  const peer =
    (of: Peer, verb: string): Case =>
    (blocks, ms) =>
      peerFigures(of, verb, blocks, ms);
  const cases: Record<string, Case> = {
    ...CASES,
    'apply, crate': peer(crate, 'apply'),
    'find, crate': peer(crate, 'find'),
    'find in place, crate': peer(crate, 'findIndex'),
    'apply, wheel': peer(wheel, 'apply'),
    'find, wheel': peer(wheel, 'find'),
  };
  const samples = new Map<string, Figures[]>();
  const record = (name: string, figures: Figures): void =>
    void samples.set(name, [...(samples.get(name) ?? []), figures]);
  try {
    await Promise.all([wheel.started(), crate.started()]);
    for (let turn = 0; turn < rounds; turn++) {
      for (const blocks of BLOCKS) {
        for (const [name, measure] of Object.entries(cases))
          record(`${name}, ${blocks} blocks`, await measure(blocks, ms));
      }
      const ours = await selections(ms);
      for (const [index, [name, verb]] of Object.entries(SELECTIONS).entries()) {
        record(name, ours[index] as Figures);
        for (const [who, of] of [
          ['crate', crate],
          ['wheel', wheel],
        ] as const)
          record(`${name}, ${who}`, await peerFigures(of, verb, SELECTED_BLOCKS, ms));
      }
    }
  } finally {
    await Promise.all([wheel.stop(), crate.stop()]);
    rmSync(dir, { recursive: true, force: true });
  }
  const of = (name: string, field: keyof Figures): number[] =>
    (samples.get(name) as Figures[]).map((figures) => figures[field]);
  // Ratios of medians: other load on the machine delays a few calls, and the mean would include them.
  const times = (theirs: string, ours: string): Spread => ratio(of(theirs, 'p50Us'), of(ours, 'p50Us'));
  const finds = BLOCKS.map((blocks) => ({
    blocks,
    tree: times(`find, wheel, ${blocks} blocks`, `find, RadixTree, ${blocks} blocks`),
    index: times(`find, wheel, ${blocks} blocks`, `find, KvIndexer in place, ${blocks} blocks`),
  }));
  const text = (spread: Spread): string => String(spread.median);
  const names = [
    ...BLOCKS.flatMap((blocks) => Object.keys(cases).map((name) => `${name}, ${blocks} blocks`)),
    ...[...samples.keys()].filter((name) => !name.endsWith(' blocks')),
  ];
  const fields = (name: string) => ({
    perSecond: spread(of(name, 'perSecond')),
    p50Us: spread(of(name, 'p50Us')),
    p99Us: spread(of(name, 'p99Us')),
  });
  return {
    settings: {
      rounds,
      ms,
      blockSize: BLOCK_SIZE,
      workers: WORKERS,
      prompts: PROMPTS,
      selectedBlocks: SELECTED_BLOCKS,
    },
    figures: names.map((what) => ({ what, ...fields(what) })),
    goals: finds.map(({ blocks, tree, index }) => ({
      goal: `find_matches of ${blocks} blocks at least ${GOAL_FIND} times as fast as the wheel, by the median call`,
      got: `RadixTree ${round(tree.median)}, KvIndexer ${round(index.median)} times`,
      met: tree.median >= GOAL_FIND && index.median >= GOAL_FIND,
    })),
    charts: [
      {
        title: 'Calls per second',
        logarithmic: true,
        series: BLOCKS.map((blocks) => `${blocks} blocks`),
        groups: Object.keys(cases).map((name) => ({
          name: name.split(', '),
          values: BLOCKS.map((blocks) => spread(of(`${name}, ${blocks} blocks`, 'perSecond'))),
        })),
      },
    ],
    columns: ['1/s', 'p50, us', 'p99, us'],
    rows: names.map((what) => ({ what, cells: Object.values(fields(what)).map(text) })),
  };
};
