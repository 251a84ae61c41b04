import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadNixl, NixlLoadError } from 'dynamo-node';
import { goalsOf } from './lib/nixl-goals.js';
import { type Case, type OwnFigures, PLACE_NAMES, PLACES, type Place, type Side } from './lib/nixl-report.js';
import { buildPeer, Peer, pythonMissing } from './lib/peer.js';
import type { Bench, Row } from './lib/result.js';
import { ratio, round, type Spread, spread } from './lib/stats.js';

const KIB = 1024;
const MIB = 1024 * KIB;
const BANDWIDTH = [4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB, 64 * MIB, 256 * MIB];
const QUICK_MAX_BYTES = 16 * MIB;
/** The bytes that move while timers are measured. */
const LOOP_BYTES = 1024 * MIB;
const LATENCY = [64, 512, 4 * KIB, 64 * KIB];
/** The posts in flight for a measurement of bandwidth, and the most bytes that they move. */
const WINDOW = 4;
const WINDOW_BYTES = 64 * MIB;
const ROUNDS = 7;
const MEASURE_MS = 60;
const IDLE_MS = 4000;
const WAITING = 100;

interface Measurement {
  readonly what: string;
  readonly place: Place;
  readonly bytes: number;
  readonly unit: Case['unit'];
  readonly command: Readonly<Record<string, unknown>>;
  /** The command for Node.js, if it differs from that of the others. */
  readonly node?: Readonly<Record<string, unknown>>;
  readonly memcpy?: Readonly<Record<string, unknown>>;
}

function sizeOf(bytes: number): string {
  if (bytes >= MIB) return `${bytes / MIB} MiB`;
  return bytes >= KIB ? `${bytes / KIB} KiB` : `${bytes} B`;
}

function measurements(maxBytes: number): Measurement[] {
  return PLACES.flatMap((place): Measurement[] => {
    const bandwidth = BANDWIDTH.filter((bytes) => bytes <= maxBytes).map((bytes): Measurement => {
      const window = bytes * WINDOW <= WINDOW_BYTES ? WINDOW : 1;
      const memcpy = { verb: 'copy', bytes, count: 1 };
      return {
        what: `bandwidth, ${sizeOf(bytes)}`,
        place,
        bytes,
        unit: 'GB/s',
        command: { verb: 'post', place, bytes, window },
        memcpy,
      };
    });
    const latency = LATENCY.flatMap((bytes) =>
      (['inline', 'executor'] as const).map((how): Measurement => {
        const command = { verb: 'post', place, bytes, window: 1 };
        const node = { ...command, thread: how === 'inline' ? 'javascript' : 'agent' };
        return {
          what: `latency ${how}, ${sizeOf(bytes)}`,
          place,
          bytes,
          unit: 'us',
          command,
          node,
          memcpy: { verb: 'copy', bytes, count: 1 },
        };
      }),
    );
    const blocks = { bytes: 64 * KIB, count: 256, window: 1 };
    return [
      ...bandwidth,
      ...latency,
      {
        what: '256 scattered blocks of 64 KiB',
        place,
        bytes: blocks.bytes * blocks.count,
        unit: 'GB/s',
        command: { verb: 'blocks', place, ...blocks },
        memcpy: { verb: 'copy', ...blocks },
      },
      {
        what: 'create, post, release, 4 KiB',
        place,
        bytes: 4 * KIB,
        unit: 'us',
        command: { verb: 'create', place, bytes: 4 * KIB },
      },
    ];
  }).concat({
    what: 'registration of 10000 regions of 4 KiB',
    place: 'one',
    bytes: 0,
    unit: 'ms',
    command: { verb: 'register', bytes: 4 * KIB, count: 10_000 },
  });
}

/** Runs one program while all others are stopped: an idle agent of the Python wheel keeps a core busy. */
async function turn<Answer>(peer: Peer, command: object): Promise<Answer> {
  peer.resume();
  try {
    return await peer.call<Answer>(command, 120_000);
  } finally {
    peer.pause();
  }
}

interface Movers {
  readonly node: Peer;
  readonly c: Peer;
  readonly python: Peer | undefined;
}

async function measure(measurement: Measurement, movers: Movers, rounds: number, ms: number): Promise<Case> {
  const { what, place, bytes, unit, command, node = command, memcpy } = measurement;
  const turns: [Side, Peer | undefined, object | undefined][] = [
    ['node', movers.node, node],
    ['c', movers.c, command],
    ['python', movers.python, command],
    ['memcpy', movers.c, memcpy],
  ];
  const sides = turns.filter((one): one is [Side, Peer, object] => one[1] !== undefined && one[2] !== undefined);
  const took: Partial<Record<Side, number[]>> = {};
  for (let index = 0; index < rounds; index++) {
    for (let offset = 0; offset < sides.length; offset++) {
      const [side, peer, request] = sides[(index + offset) % sides.length] as [Side, Peer, object];
      const { meanNs, p50Ns } = await turn<{ meanNs: number; p50Ns: number }>(peer, { ms, ...request });
      (took[side] ??= []).push(unit === 'us' ? p50Ns : meanNs);
    }
  }
  const others = sides.map(([side]) => side).filter((side) => side !== 'node') as Exclude<Side, 'node'>[];
  return {
    what,
    place,
    bytes,
    unit,
    ns: Object.fromEntries(sides.map(([side]) => [side, spread(took[side] as number[])])),
    of: Object.fromEntries(others.map((side) => [side, ratio(took[side] as number[], took.node as number[])])),
  };
}

/** Each mover has an agent that writes and, for the rows within one process, an agent that is written to. */
const AGENTS = 2;

/** The part of a core that each idle agent of a program uses. */
async function idleOf(peer: Peer, rounds: number, ms: number, agents = AGENTS): Promise<Spread> {
  const parts: number[] = [];
  peer.resume();
  for (let index = 0; index < rounds; index++) {
    const [begin, before] = [performance.now(), peer.busyMs()];
    await new Promise((resolve) => setTimeout(resolve, ms));
    parts.push((peer.busyMs() - before) / (performance.now() - begin) / agents);
  }
  peer.pause();
  return spread(parts);
}

/** Reads from a stopped peer wait. They use TCP, because a one-sided copy does not need the peer. */
async function waitingOf(dir: string, rounds: number, ms: number): Promise<Spread> {
  const bytes = 64 * KIB;
  const target = Peer.node('target over TCP', dir, 'nixl.mjs', 'tcpTarget', 'waiting-target', String(bytes * WAITING));
  const mover = Peer.node('mover over TCP', dir, 'nixl.mjs', 'mover', 'waiting', 'tcp');
  try {
    const { metadata, address } = await target.started();
    await mover.started();
    await mover.call({ verb: 'connect', bytes: bytes * WAITING, metadata, address });
    target.pause();
    await mover.call({ verb: 'hold', bytes, count: WAITING });
    return await idleOf(mover, rounds, ms, 1);
  } finally {
    await mover.stop();
    await target.stop();
  }
}

async function ownOf(
  dir: string,
  movers: Movers,
  maxBytes: number,
  rounds: number,
  ms: number,
): Promise<Omit<OwnFigures, 'idle' | 'rssMiB'>> {
  const moves: { p99Ms: number; maxMs: number; gigabytesPerSecond: number }[] = [];
  for (let index = 0; index < rounds; index++)
    moves.push(await turn(movers.node, { verb: 'loop', bytes: maxBytes, count: LOOP_BYTES / maxBytes }));
  await turn(movers.node, { verb: 'listen' });
  return {
    loop: {
      p99Ms: spread(moves.map((one) => one.p99Ms)),
      maxMs: spread(moves.map((one) => one.maxMs)),
      gigabytesPerSecond: spread(moves.map((one) => one.gigabytesPerSecond)),
    },
    listening: await idleOf(movers.node, 3, ms),
    waiting: await waitingOf(dir, 3, ms),
  };
}

const named = ({ what, place }: Case): string =>
  what.startsWith('registration') ? what : `${what}, ${PLACE_NAMES[place]}`;

function shown(one: Case, side: Side): string {
  const ns = one.ns[side]?.median;
  if (ns === undefined) return '';
  return String(round(one.unit === 'GB/s' ? one.bytes / ns : ns / (one.unit === 'us' ? 1e3 : 1e6)));
}

function rowsOf(cases: readonly Case[], { loop, idle, listening, waiting, rssMiB }: OwnFigures): Row[] {
  const times = (part: Spread | undefined): string =>
    part === undefined ? '' : `${part.median} (${part.min} to ${part.max})`;
  const percent = (part: Spread | undefined): string => (part === undefined ? '' : String(round(part.median * 100)));
  const sides = ['node', 'c', 'python'] as const;
  return [
    ...cases.map((one) => ({
      what: `${named(one)}, ${one.unit}`,
      cells: [
        ...(['node', 'c', 'python', 'memcpy'] as const).map((side) => shown(one, side)),
        times(one.of.c),
        times(one.of.python),
      ],
    })),
    { what: 'timers 1 ms apart while 1 GiB moves, p99, ms', cells: [String(loop.p99Ms.median), '', '', '', '', ''] },
    {
      what: 'processor of an idle agent, % of a core',
      cells: [...sides.map((side) => percent(idle[side])), '', '', ''],
    },
    { what: 'processor with a reader of notifications, % of a core', cells: [percent(listening), '', '', '', '', ''] },
    { what: `processor of ${WAITING} waiting transfers, % of a core`, cells: [percent(waiting), '', '', '', '', ''] },
    { what: 'RSS with an agent, MiB', cells: [...sides.map((side) => String(rssMiB[side] ?? '')), '', '', ''] },
  ];
}

/** Compares NIXL through this package with a C++ program on the same library, the Python wheel, and memcpy. */
export const nixl: Bench = async ({ quick }) => {
  let path: string;
  try {
    ({ path } = loadNixl({ mode: 'real' }));
  } catch (error) {
    if (error instanceof NixlLoadError) return { skipped: 'the NIXL library is not installed' };
    throw error;
  }
  buildPeer('nixl_peer');
  const maxBytes = quick ? QUICK_MAX_BYTES : Math.max(...BANDWIDTH);
  const [rounds, ms, idleMs] = quick ? [1, 5, 200] : [ROUNDS, MEASURE_MS, IDLE_MS];
  const dir = mkdtempSync(join(tmpdir(), 'dynamo-bench-'));
  const target = Peer.node('target', dir, 'nixl.mjs', 'target', 'bench-target', String(maxBytes));
  const movers: Movers = {
    node: Peer.node('Node.js', dir, 'nixl.mjs', 'mover', 'bench-node'),
    c: Peer.compiled('C++', dir, 'nixl_peer', 'bench-c', path),
    python: pythonMissing === undefined ? Peer.python('Python', dir, 'nixl.py', 'bench-python') : undefined,
  };
  const sides = Object.entries(movers).filter((one): one is [keyof Movers, Peer] => one[1] !== undefined);
  try {
    const { metadata, address } = await target.started();
    for (const [, peer] of sides) {
      await peer.started();
      peer.pause();
    }
    const rssMiB = Object.fromEntries(sides.map(([side, peer]) => [side, peer.memory().rssMiB]));
    const idle: Partial<Record<Side, Spread>> = {};
    for (const [side, peer] of sides) idle[side] = await idleOf(peer, quick ? 1 : 3, idleMs);
    for (const [, peer] of sides) await turn(peer, { verb: 'connect', bytes: maxBytes, metadata, address });
    const cases: Case[] = [];
    for (const measurement of measurements(maxBytes)) cases.push(await measure(measurement, movers, rounds, ms));
    const own: OwnFigures = { rssMiB, idle, ...(await ownOf(dir, movers, maxBytes, rounds, idleMs)) };
    const bandwidths = cases.filter(({ what }) => what.startsWith('bandwidth'));
    return {
      settings: {
        library: path.replace(/^.*\/site-packages\//, ''),
        rounds,
        measureMs: ms,
        idleMs,
        operation: 'WRITE',
        window: WINDOW,
      },
      figures: [...cases, { what: 'alone', ...own }],
      goals: goalsOf(cases, own),
      charts: [
        {
          title: 'Two processes: speed, as a part of the C++ program on the same library',
          logarithmic: false,
          series: ['dynamo-node'],
          groups: bandwidths
            .filter(({ place }) => place === 'two')
            .map((one) => ({ name: [sizeOf(one.bytes)], values: [one.of.c] })),
        },
        {
          title: "Awaited, inline and through the agent's thread: us, one process",
          logarithmic: false,
          series: ['dynamo-node', 'C++', 'Python'],
          groups: cases
            .filter(({ what, place }) => what.startsWith('latency') && place === 'one')
            .map((one) => ({
              name: one.what.replace('latency ', '').split(', '),
              values: (['node', 'c', 'python'] as const).map((side) => microseconds(one.ns[side])),
            })),
        },
      ],
      columns: ['Node.js', 'C++', 'Python', 'memcpy', 'part of the speed of C++', 'times Python'],
      rows: rowsOf(cases, own),
    };
  } finally {
    await Promise.all([target, ...sides.map(([, peer]) => peer)].map((peer) => peer.stop()));
    rmSync(dir, { recursive: true, force: true });
  }
};

function microseconds(ns: Spread | undefined): Spread | undefined {
  return ns === undefined
    ? undefined
    : { median: round(ns.median / 1e3), min: round(ns.min / 1e3), max: round(ns.max / 1e3) };
}
