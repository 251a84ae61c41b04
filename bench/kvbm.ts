import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  BlockManager,
  computeBlockHashes,
  type MutableBlocks,
  type RegisteredBlocks,
  TokenSequence,
} from 'dynamo-node';
import { pack } from '../lib/addon/codec.js';
import { invokeSync } from '../lib/addon/invoke.js';
import { testing } from '../test/helpers/testing-native.js';
import { Peer, pythonMissing } from './lib/peer.js';
import type { Bench, Goal } from './lib/result.js';
import { ratio, round, type Spread, spread } from './lib/stats.js';

const BLOCK_SIZE = 16;
const BLOCK_COUNT = 8192;
const COUNTS = [1, 8, 32, 128] as const;
const TOKENS = [8192, 131072] as const;
const ROUNDS = 7;
/** Approximate duration of one measurement. */
const MEASURE_NS = 60e6;
const GOAL_BATCH = 0.8;
const GOAL_HASH = 0.9;
const GOAL_WHEEL = 10;

type What = 'allocate' | 'register' | 'match' | 'matchInactive' | 'hash';

/** Nanoseconds per call of the crate alone, in this process. */
function crate(what: What, count: number, calls: number): number {
  const args = pack({ what, count, calls, blockSize: BLOCK_SIZE, blockCount: BLOCK_COUNT });
  return invokeSync(testing.kvbmBench, 'bench', { args }) / calls;
}

function timed(calls: number, work: () => void): number {
  const begin = process.hrtime.bigint();
  for (let call = 0; call < calls; call++) work();
  return Number(process.hrtime.bigint() - begin) / calls;
}

function sequenceOf(count: number, seed: number): TokenSequence {
  return new TokenSequence(
    Uint32Array.from({ length: count * BLOCK_SIZE }, (_, index) => seed * 7919 + index),
    { blockSize: BLOCK_SIZE },
  );
}

/** Nanoseconds per call through this package, for the same work. */
function ours(what: What, count: number, calls: number): number {
  if (what === 'hash') {
    const tokens = Uint32Array.from({ length: count }, (_, index) => index);
    return timed(calls, () => {
      const sequence = new TokenSequence(tokens, { blockSize: BLOCK_SIZE });
      sequence.blockHashes();
      sequence.dispose();
    });
  }
  using manager = new BlockManager({
    tier: 'host',
    blockCount: BLOCK_COUNT,
    blockSize: BLOCK_SIZE,
    resetOnRelease: what === 'register',
  });
  if (what === 'allocate') return timed(calls, () => manager.allocate(count)?.dispose());
  if (what === 'register') return registered(manager, count, calls);
  using sequence = sequenceOf(count, 1);
  const held = manager.allocateOrThrow(count).stage(sequence).register();
  if (what === 'matchInactive') held.dispose();
  return timed(calls, () => manager.matchPrefix(sequence)?.dispose());
}

function registered(manager: BlockManager, count: number, calls: number): number {
  const atOnce = Math.min(Math.floor(BLOCK_COUNT / count), calls);
  const sequences = Array.from({ length: atOnce }, (_, seed) => sequenceOf(count, seed));
  const passes = Math.floor(calls / atOnce);
  let took = 0;
  for (let pass = 0; pass < passes; pass++) {
    const blocks: MutableBlocks[] = sequences.map(() => manager.allocateOrThrow(count));
    const held: RegisteredBlocks[] = [];
    took += timed(1, () => {
      for (let index = 0; index < atOnce; index++) {
        held.push((blocks[index] as MutableBlocks).stage(sequences[index] as TokenSequence).register());
      }
    });
    for (const one of held) one.dispose();
  }
  for (const sequence of sequences) sequence.dispose();
  return took / (passes * atOnce);
}

interface Case {
  readonly what: What;
  readonly count: number;
  readonly oursNs: Spread;
  readonly crateNs: Spread;
  /** The fraction of the crate's speed. */
  readonly part: Spread;
  /** Time for the blocks' hashes only, here and in the Python wheel, which has no sequences. */
  readonly hashesNs?: Spread;
  readonly wheelNs?: Spread;
  readonly timesWheel?: Spread;
}

const NAMES: Record<What, string> = {
  allocate: 'allocate and release',
  register: 'stage and register',
  match: 'match what is held, and release',
  matchInactive: 'match what is cached, and release',
  hash: 'TokenSequence and its hashes',
};

async function measure(what: What, count: number, rounds: number, wheel: Peer | undefined): Promise<Case> {
  const once = crate(what, count, what === 'hash' ? 5 : 256);
  const calls = Math.max(
    what === 'register' ? Math.floor(BLOCK_COUNT / count) : 5,
    Math.ceil(MEASURE_NS / once / (rounds === 1 ? 20 : 1)),
  );
  const [mine, theirs, python]: number[][] = [[], [], []];
  const alone: number[] = [];
  const tokens = Uint32Array.from({ length: count }, (_, index) => index);
  ours(what, count, calls);
  for (let index = 0; index < rounds; index++) {
    const both = [() => mine?.push(ours(what, count, calls)), () => theirs?.push(crate(what, count, calls))];
    for (const side of index % 2 === 0 ? both : both.reverse()) side();
    if (wheel !== undefined) {
      const wheelCalls = Math.max(2, Math.ceil(calls / 20));
      const { seconds } = await wheel.call<{ seconds: number }>({
        tokens: count,
        calls: wheelCalls,
        block_size: BLOCK_SIZE,
      });
      python?.push((seconds * 1e9) / wheelCalls);
      alone.push(timed(calls, () => computeBlockHashes(tokens, BLOCK_SIZE)));
    }
  }
  const result = {
    what,
    count,
    oursNs: spread(mine as number[]),
    crateNs: spread(theirs as number[]),
    part: ratio(theirs as number[], mine as number[]),
  };
  if (wheel === undefined) return result;
  return {
    ...result,
    hashesNs: spread(alone),
    wheelNs: spread(python as number[]),
    timesWheel: ratio(python as number[], alone),
  };
}

function goalsOf(cases: readonly Case[]): Goal[] {
  const worst = (of: readonly Case[]): Case | undefined => [...of].sort((a, b) => a.part.median - b.part.median)[0];
  const batch = worst(cases.filter(({ what, count }) => what !== 'hash' && count >= 32));
  const hash = worst(cases.filter(({ what }) => what === 'hash'));
  const wheel = cases.flatMap(({ timesWheel }) => (timesWheel === undefined ? [] : [timesWheel.median]));
  const shown = (one: Case | undefined): string =>
    one === undefined ? 'none' : `at least ${one.part.median} (${NAMES[one.what]}, ${one.count})`;
  return [
    {
      goal: `batches of 32 and more at ${GOAL_BATCH} of the crate's speed`,
      got: shown(batch),
      met: batch !== undefined && batch.part.median >= GOAL_BATCH,
    },
    {
      goal: `hashing at ${GOAL_HASH} of the crate's speed`,
      got: shown(hash),
      met: hash !== undefined && hash.part.median >= GOAL_HASH,
    },
    {
      goal: `hashing at least ${GOAL_WHEEL} times as fast as the wheel`,
      got: wheel.length === 0 ? (pythonMissing ?? 'not measured') : `${Math.min(...wheel)} times`,
      met: wheel.length === 0 ? 'not measured' : Math.min(...wheel) >= GOAL_WHEEL,
    },
  ];
}

/** Compares KV blocks through this package with the crates alone, in one process, and hashing with the Python wheel. */
export const kvbm: Bench = async ({ quick }) => {
  const rounds = quick ? 1 : ROUNDS;
  const dir = mkdtempSync(join(tmpdir(), 'dynamo-bench-'));
  const wheel = pythonMissing === undefined ? Peer.python('wheel', dir, 'hash.py') : undefined;
  const cases: Case[] = [];
  try {
    await wheel?.started();
    for (const what of ['allocate', 'register', 'match', 'matchInactive'] as const) {
      for (const count of COUNTS) cases.push(await measure(what, count, rounds, undefined));
    }
    for (const count of TOKENS) cases.push(await measure('hash', count, rounds, wheel));
  } finally {
    await wheel?.stop();
    rmSync(dir, { recursive: true, force: true });
  }
  const title = (one: Case): string => `${NAMES[one.what]} x ${one.count}`;
  const microseconds = ({ median: nanoseconds }: Spread): string => String(round(nanoseconds / 1000));
  return {
    settings: {
      blockSize: BLOCK_SIZE,
      blockCount: BLOCK_COUNT,
      rounds,
      measureMs: MEASURE_NS / 1e6,
      eviction: 'lineage',
    },
    figures: cases,
    goals: goalsOf(cases),
    charts: [
      {
        title: "Speed, as a part of the crate's",
        logarithmic: false,
        series: ['dynamo-node'],
        groups: cases.map((one) => ({
          name: [NAMES[one.what].split(' ')[0] as string, String(one.count)],
          values: [one.part],
        })),
      },
    ],
    columns: ['here, us', 'crate, us', "part of the crate's speed", 'hashes alone, times the wheel'],
    rows: cases.map((one) => ({
      what: title(one),
      cells: [
        microseconds(one.oursNs),
        microseconds(one.crateNs),
        `${one.part.median} (${one.part.min} to ${one.part.max})`,
        one.timesWheel === undefined ? '' : String(one.timesWheel.median),
      ],
    })),
  };
};
