import { buildPeer, Peer } from './peer.js';
import type { Goal, Row } from './result.js';
import { ratio, round, type Spread, spread } from './stats.js';

const MIB = 2 ** 20;
/** Blocks of the pools: 64 MiB. */
const POOL_BLOCKS = 2048;
const SIZES_MIB = [1, 4, 16, 64];
/** Reads in flight. */
const WINDOWS = [4, 1];
/** Blocks of a handoff. */
const BLOCKS = 100;
const SETTINGS = { rounds: 5, ms: 100, handoffs: 300, warmUp: 30 };
const QUICK = { rounds: 1, ms: 5, handoffs: 3, warmUp: 1 };
const BANDWIDTH_GOAL = 0.95;
const ADDED_GOAL_MS = 1;

interface Bandwidth {
  readonly mib: number;
  readonly window: number;
  readonly gigabytesPerSecond: Readonly<Record<'node' | 'c', Spread>>;
  /** The speed as a part of that of the C++ program. */
  readonly part: Spread;
}

interface Times {
  readonly p50: number;
  readonly p99: number;
}

/** Times of one handoff, in milliseconds. */
interface HandoffTimes {
  /** The read alone. */
  readonly transferMs: Times;
  /** What the decode worker does beside the read: the check, the confirmation, the commit. */
  readonly takeAddsMs: Times;
  /** The same and the offer of the prefill worker. */
  readonly allAddsMs: Times;
  /** One call of the prefill worker by the decode worker. A handoff has one, which confirms the read. */
  readonly callMs: Times;
}

export interface HandoffFigures {
  readonly settings: object;
  readonly bandwidths: readonly Bandwidth[];
  readonly handoff: HandoffTimes;
}

interface Timed {
  readonly meanNs: number;
}

interface Taken {
  readonly blocks: number;
  readonly transferMs: number;
  readonly handoffMs: number;
  readonly callMs: number;
}

/** Runs one program while the other is stopped. */
async function turn<Answer>(peer: Peer, command: object): Promise<Answer> {
  peer.resume();
  try {
    return await peer.call<Answer>(command);
  } finally {
    peer.pause();
  }
}

async function bandwidthsOf(
  sides: Readonly<Record<'node' | 'c', Peer>>,
  blockBytes: number,
  { rounds, ms }: typeof SETTINGS,
): Promise<Bandwidth[]> {
  const all: Bandwidth[] = [];
  for (const mib of SIZES_MIB)
    for (const window of WINDOWS) {
      const bytes = mib * MIB;
      const command = { verb: 'reads', place: 'two', bytes: blockBytes, count: bytes / blockBytes, window, ms };
      const rates = { node: [] as number[], c: [] as number[] };
      for (let round = 0; round < rounds; round++)
        for (const side of round % 2 === 0 ? (['node', 'c'] as const) : (['c', 'node'] as const)) {
          const { meanNs } = await turn<Timed>(sides[side], command);
          rates[side].push(bytes / meanNs);
        }
      all.push({
        mib,
        window,
        gigabytesPerSecond: { node: spread(rates.node), c: spread(rates.c) },
        part: ratio(rates.node, rates.c),
      });
    }
  return all;
}

async function handoffOf(source: Peer, target: Peer, { handoffs, warmUp }: typeof SETTINGS): Promise<HandoffTimes> {
  const times = {
    transferMs: [] as number[],
    takeAddsMs: [] as number[],
    allAddsMs: [] as number[],
    callMs: [] as number[],
  };
  for (let index = -warmUp; index < handoffs; index++) {
    const prompt = { seed: index + warmUp, blocks: BLOCKS };
    const { params, publishMs } = await source.call<{ params: object; publishMs: number }>({
      verb: 'offer',
      ...prompt,
    });
    const { transferMs, handoffMs, blocks, callMs } = await target.call<Taken>({ verb: 'take', params, ...prompt });
    if (blocks !== BLOCKS) throw new Error(`expected ${BLOCKS} blocks to be read, got ${blocks}`);
    if (index < 0) continue;
    times.transferMs.push(transferMs);
    times.callMs.push(callMs);
    times.takeAddsMs.push(handoffMs - transferMs);
    times.allAddsMs.push(handoffMs - transferMs + publishMs);
  }
  return {
    transferMs: timesOf(times.transferMs),
    takeAddsMs: timesOf(times.takeAddsMs),
    allAddsMs: timesOf(times.allAddsMs),
    callMs: timesOf(times.callMs),
  };
}

function timesOf(values: readonly number[]): Times {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number): number => round(sorted[Math.floor(sorted.length * share)] as number);
  return { p50: at(0.5), p99: at(0.99) };
}

/** Reads between two pools against the C++ program on the same library, and what a handoff adds to its read. */
export async function measureHandoffs(dir: string, library: string, quick: boolean): Promise<HandoffFigures> {
  buildPeer('nixl_peer');
  const settings = quick ? QUICK : SETTINGS;
  const source = Peer.node('source', dir, 'pool.mjs', 'source', String(POOL_BLOCKS));
  const c = Peer.compiled('C++', dir, 'nixl_peer', 'disagg-c', library);
  const peers = [source, c];
  try {
    await Promise.all([source.started(), c.started()]);
    const target = Peer.node('target', dir, 'pool.mjs', 'target', String(POOL_BLOCKS));
    peers.push(target);
    const { blockBytes } = (await target.started()) as { blockBytes: number };
    c.pause();
    const handoff = await handoffOf(source, target, settings);
    const { metadata, memory } = await source.call<{ metadata: string; memory: { address: string } }>({
      verb: 'describe',
    });
    await target.call({ verb: 'connect', metadata, memory });
    target.pause();
    const bytes = POOL_BLOCKS * blockBytes;
    await turn(c, { verb: 'connect', bytes, metadata, address: Number(memory.address) });
    const bandwidths = await bandwidthsOf({ node: target, c }, blockBytes, settings);
    return { settings: { ...settings, blockBytes, blocks: BLOCKS }, bandwidths, handoff };
  } finally {
    await Promise.all(peers.map((peer) => peer.stop()));
  }
}

const shown = ({ median, min, max }: Spread): string => `${median} (${min} to ${max})`;

export function handoffRows({ bandwidths, handoff }: HandoffFigures): Row[] {
  return [
    ...bandwidths.map(({ mib, window, gigabytesPerSecond: { node, c }, part }) => ({
      what: `pool to pool, ${mib} MiB of scattered blocks, ${window} in flight: GB/s here, in C++, part of C++`,
      cells: [shown(node), shown(c), shown(part)],
    })),
    ...(
      [
        [`the read of ${BLOCKS} blocks: p50, p99, ms`, handoff.transferMs],
        ['the decode worker adds: p50, p99, ms', handoff.takeAddsMs],
        ['both workers add: p50, p99, ms', handoff.allAddsMs],
        ['one call between the workers: p50, p99, ms', handoff.callMs],
      ] as const
    ).map(([what, { p50, p99 }]) => ({ what, cells: [String(p50), String(p99), ''] })),
  ];
}

export function handoffGoals({ bandwidths, handoff }: HandoffFigures): Goal[] {
  const atOnce = bandwidths.filter(({ window }) => window === Math.max(...WINDOWS));
  const least = Math.min(...atOnce.map(({ part }) => part.median));
  return [
    {
      goal: `pool to pool at least ${BANDWIDTH_GOAL} of the C++ program from 1 MiB on`,
      got: `at least ${least}`,
      met: least >= BANDWIDTH_GOAL,
    },
    {
      goal: `a handoff of ${BLOCKS} blocks adds at most ${ADDED_GOAL_MS} ms to its read`,
      got: `${handoff.allAddsMs.p50} ms (median)`,
      met: handoff.allAddsMs.p50 <= ADDED_GOAL_MS,
    },
  ];
}
