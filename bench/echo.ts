import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildPeer, Peer, pythonMissing } from './lib/peer.js';
import type { Bench, Effort, Goal, Measured, Row } from './lib/result.js';
import { ratio, round, type Spread, spread } from './lib/stats.js';
import { wakeMicros } from './lib/wake.js';

type Kind = 'unary' | 'stream';
type PairName =
  | 'node-node'
  | 'crates-crates'
  | 'node-python'
  | 'crates-python'
  | 'python-python'
  | 'grpc-grpc'
  | 'rust-rust';

const LABELS: Record<PairName, string> = {
  'node-node': 'Node to Node',
  'crates-crates': "Node to Node, the crates' plane",
  'node-python': 'Node to Python',
  'crates-python': "Node to Python, the crates' plane",
  'python-python': 'Python to Python',
  'grpc-grpc': 'grpc-js to grpc-js',
  'rust-rust': 'Rust to Rust',
};

interface Case {
  readonly kind: Kind;
  readonly concurrency: number;
  /** Calls in flight: lower than `concurrency` if those would exceed `IN_FLIGHT_BYTES`. */
  readonly inFlight: number;
  readonly bytes: number;
  /** Items of a stream. */
  readonly count: number;
}

/** A caller and its server. */
interface Pair {
  readonly name: PairName;
  readonly caller: Peer;
  readonly server: Peer;
}

/** One measurement, as the caller reports it. */
interface Sample {
  readonly calls: number;
  readonly items: number;
  readonly seconds: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

interface Side {
  /** Processor time: of the thread that runs JavaScript or Python, and of all other threads. */
  readonly mainMs: number;
  readonly otherMs: number;
  readonly rssMiB: number;
}

interface Round extends Sample {
  readonly caller: Side;
  readonly server: Side;
}

/** Processor time per request or item, in microseconds, and memory. */
interface SideFigure {
  readonly mainMicros: number;
  readonly otherMicros: number;
  readonly rssMiB: number;
}

interface Figure extends Case {
  readonly pair: PairName;
  /** Requests, or items of streams. */
  readonly perSecond: Spread;
  readonly p50Ms: Spread;
  readonly p99Ms: Spread;
  readonly caller: SideFigure;
  readonly server: SideFigure;
  /** Ratio of the rates, per round. Above 1, Node to Node is faster. */
  readonly nodeOverThis: Spread;
}

const IN_FLIGHT_BYTES = 128 * 2 ** 20;
const CONCURRENCY = [1, 64, 512];
const PAYLOADS = [
  { bytes: 100, count: 64 },
  { bytes: 10_000, count: 32 },
  { bytes: 1_000_000, count: 4 },
];
const SETTINGS = { rounds: 7, warmUpMs: 120, ms: 500, firstWarmUpMs: 800 };
const QUICK = { rounds: 1, warmUpMs: 20, ms: 60, firstWarmUpMs: 50 };

/** All cases, without those that the limit makes equal to an earlier one. */
function cases(): Case[] {
  const all = (['unary', 'stream'] as const).flatMap((kind) =>
    PAYLOADS.flatMap(({ bytes, count }) =>
      CONCURRENCY.map((concurrency) => {
        const limit = Math.floor(IN_FLIGHT_BYTES / (kind === 'unary' ? bytes : bytes * count));
        return {
          kind,
          concurrency,
          inFlight: Math.min(concurrency, limit),
          bytes,
          count: kind === 'unary' ? 1 : count,
        };
      }),
    ),
  );
  const same = (one: Case, other: Case): boolean =>
    one.kind === other.kind && one.bytes === other.bytes && one.inFlight === other.inFlight;
  return all.filter((one, index) => all.findIndex((other) => same(one, other)) === index);
}

async function startPairs(dir: string, peers: Peer[]): Promise<Pair[]> {
  const start = async (peer: Peer): Promise<Record<string, unknown>> => {
    peers.push(peer);
    return peer.started();
  };
  const nodeServer = Peer.node('node server', dir, 'node.mjs', 'serve', 'node');
  const cratesServer = Peer.node('crates server', dir, 'node.mjs', 'serve', 'crates', 'crates');
  const grpcServer = Peer.node('grpc-js server', dir, 'grpc.mjs', 'serve');
  const pythonServer =
    pythonMissing === undefined ? Peer.python('python server', dir, 'echo.py', 'serve', 'python') : undefined;
  const rustServer = Peer.compiled('rust server', dir, 'echo_peer', 'serve', 'rust');
  const [{ port }] = await Promise.all([
    start(grpcServer),
    start(nodeServer),
    start(cratesServer),
    start(rustServer),
    pythonServer && start(pythonServer),
  ]);
  const pairs: Pair[] = [
    { name: 'node-node', caller: Peer.node('node caller', dir, 'node.mjs', 'call', 'node'), server: nodeServer },
    {
      name: 'crates-crates',
      caller: Peer.node('crates caller', dir, 'node.mjs', 'call', 'crates', 'crates'),
      server: cratesServer,
    },
    {
      name: 'grpc-grpc',
      caller: Peer.node('grpc-js caller', dir, 'grpc.mjs', 'call', String(port)),
      server: grpcServer,
    },
    { name: 'rust-rust', caller: Peer.compiled('rust caller', dir, 'echo_peer', 'call', 'rust'), server: rustServer },
  ];
  if (pythonServer !== undefined) {
    pairs.push(
      {
        name: 'node-python',
        caller: Peer.node('node caller of python', dir, 'node.mjs', 'call', 'python'),
        server: pythonServer,
      },
      {
        name: 'crates-python',
        caller: Peer.node('crates caller of python', dir, 'node.mjs', 'call', 'python', 'crates'),
        server: pythonServer,
      },
      {
        name: 'python-python',
        caller: Peer.python('python caller', dir, 'echo.py', 'call', 'python'),
        server: pythonServer,
      },
    );
  }
  await Promise.all(pairs.map(({ caller }) => start(caller)));
  return pairs;
}

async function measure(
  { caller, server }: Pair,
  { kind, inFlight, bytes, count }: Case,
  warmUpMs: number,
  ms: number,
): Promise<Round> {
  const command = { kind, concurrency: inFlight, bytes, count };
  await caller.call({ ...command, ms: warmUpMs });
  const before = [caller, server].map((peer) => peer.cpu());
  const sample = await caller.call<Sample>({ ...command, ms });
  const [callerSide, serverSide] = [caller, server].map((peer, index) => {
    const { mainMs, otherMs } = peer.cpu();
    const then = before[index] as { mainMs: number; otherMs: number };
    return { mainMs: mainMs - then.mainMs, otherMs: otherMs - then.otherMs, rssMiB: peer.memory().rssMiB };
  }) as [Side, Side];
  return { ...sample, caller: callerSide, server: serverSide };
}

function side(rounds: readonly Round[], name: 'caller' | 'server'): SideFigure {
  const sum = (value: (each: Round) => number): number => rounds.reduce((all, each) => all + value(each), 0);
  const items = sum((each) => each.items);
  return {
    mainMicros: round((sum((each) => each[name].mainMs) / items) * 1000),
    otherMicros: round((sum((each) => each[name].otherMs) / items) * 1000),
    rssMiB: Math.max(...rounds.map((each) => each[name].rssMiB)),
  };
}

function figures(one: Case, rounds: ReadonlyMap<PairName, readonly Round[]>): Figure[] {
  const rates = (name: PairName): number[] =>
    (rounds.get(name) as Round[]).map(({ items, seconds }) => items / seconds);
  return [...rounds].map(([pair, all]) => ({
    ...one,
    pair,
    perSecond: spread(rates(pair)),
    p50Ms: spread(all.map(({ p50Ms }) => p50Ms)),
    p99Ms: spread(all.map(({ p99Ms }) => p99Ms)),
    caller: side(all, 'caller'),
    server: side(all, 'server'),
    nodeOverThis: ratio(rates('node-node'), rates(pair)),
  }));
}

async function measureAll(pairs: readonly Pair[], { quick }: Effort): Promise<Figure[]> {
  const { rounds, warmUpMs, ms, firstWarmUpMs } = quick ? QUICK : SETTINGS;
  for (const pair of pairs) {
    for (const kind of ['unary', 'stream'] as const) {
      await measure(pair, { kind, concurrency: 16, inFlight: 16, bytes: 100, count: 16 }, 0, firstWarmUpMs);
    }
  }
  const all: Figure[] = [];
  for (const one of cases()) {
    const measurements = new Map<PairName, Round[]>(pairs.map(({ name }) => [name, []]));
    for (let turn = 0; turn < rounds; turn++) {
      for (let index = 0; index < pairs.length; index++) {
        const pair = pairs[(index + turn) % pairs.length] as Pair;
        measurements.get(pair.name)?.push(await measure(pair, one, warmUpMs, ms));
      }
    }
    const caseFigures = figures(one, measurements);
    all.push(...caseFigures);
    const medians = caseFigures.map(({ pair, perSecond }) => `${pair} ${perSecond.median}`);
    console.log(`  ${label(one).padEnd(24)} ${medians.join('  ')}`);
  }
  return all;
}

const size = (bytes: number): string =>
  bytes >= 1_000_000 ? `${bytes / 1_000_000} MB` : bytes >= 1000 ? `${bytes / 1000} KB` : `${bytes} B`;

function label({ kind, concurrency, inFlight, bytes }: Case): string {
  return `${kind} ${size(bytes)} x ${inFlight === concurrency ? concurrency : `${inFlight} (limited)`}`;
}

/** The latency of one unary call at a time above that of Rust, for small payloads. */
function addedLatency(all: readonly Figure[], wake: number): Goal {
  const p50 = (pair: PairName, bytes: number): number =>
    all.find((one) => one.kind === 'unary' && one.pair === pair && one.concurrency === 1 && one.bytes === bytes)?.p50Ms
      .median as number;
  const added = PAYLOADS.slice(0, 2).map(({ bytes }) =>
    round((p50('node-node', bytes) - p50('rust-rust', bytes)) * 1000),
  );
  return {
    goal: 'added p50 over Rust at most 50 us (100 B and 10 KB, one at a time)',
    got: `${added.join(' and ')} us; a sleeping thread runs ${wake} us after its wake-up`,
    met: added.every((each) => each <= 50),
  };
}

function goals(all: readonly Figure[], wake: number): Goal[] {
  const judge = (goal: string, kind: Kind, pair: PairName, minRatio: number): Goal => {
    const matching = all.filter((one) => one.kind === kind && one.pair === pair);
    if (matching.length === 0) return { goal, got: pythonMissing ?? 'not run', met: 'not measured' };
    const ratios = matching.map(({ nodeOverThis }) => nodeOverThis.median);
    const reached = ratios.filter((value) => value >= minRatio).length;
    return {
      goal,
      got: `${Math.min(...ratios)} to ${Math.max(...ratios)} times; reached in ${reached} of ${ratios.length} cases`,
      met: reached === ratios.length,
    };
  };
  return [
    judge('unary at least 3 times Python to Python', 'unary', 'python-python', 3),
    judge('stream items at least 5 times Python to Python', 'stream', 'python-python', 5),
    judge('unary ahead of grpc-js', 'unary', 'grpc-grpc', 1),
    judge('stream items ahead of grpc-js', 'stream', 'grpc-grpc', 1),
    judge('unary at least 0.7 of Rust', 'unary', 'rust-rust', 0.7),
    judge('stream items at least 0.6 of Rust', 'stream', 'rust-rust', 0.6),
    addedLatency(all, wake),
  ];
}

function bothSides({ caller, server }: Figure, field: 'mainMicros' | 'otherMicros'): number {
  return round(caller[field] + server[field]);
}

function rows(all: readonly Figure[]): Row[] {
  return cases().map((one) => {
    const byPair = new Map(
      all
        .filter(
          ({ kind, concurrency, bytes }) => kind === one.kind && concurrency === one.concurrency && bytes === one.bytes,
        )
        .map((each) => [each.pair, each]),
    );
    const node = byPair.get('node-node') as Figure;
    const cell = (pair: PairName): string => {
      const figure = byPair.get(pair);
      return figure === undefined ? 'not measured' : `${figure.perSecond.median} (${figure.nodeOverThis.median}x)`;
    };
    return {
      what: label(one),
      cells: [
        String(node.perSecond.median),
        one.kind === 'unary' ? `${node.p50Ms.median} / ${node.p99Ms.median}` : '',
        cell('crates-crates'),
        cell('node-python'),
        cell('crates-python'),
        cell('python-python'),
        cell('grpc-grpc'),
        cell('rust-rust'),
        `${bothSides(node, 'mainMicros')} + ${bothSides(node, 'otherMicros')}`,
        `${node.caller.rssMiB} + ${node.server.rssMiB}`,
      ],
    };
  });
}

function measured(
  all: readonly Figure[],
  pairs: readonly PairName[],
  wake: number,
  settings: Record<string, unknown>,
): Measured {
  return {
    settings: { ...settings, wakeMicros: wake },
    figures: all,
    goals: goals(all, wake),
    charts: (['unary', 'stream'] as const).map((kind) => ({
      title: kind === 'unary' ? 'Unary echo: requests per second' : 'Streams: items per second',
      logarithmic: true,
      series: pairs.map((pair) => LABELS[pair]),
      groups: cases()
        .filter((one) => one.kind === kind)
        .map((one) => ({
          name: [size(one.bytes), `x ${one.inFlight}`],
          values: pairs.map(
            (pair) =>
              all.find(
                (each) =>
                  each.pair === pair &&
                  each.kind === kind &&
                  each.bytes === one.bytes &&
                  each.concurrency === one.concurrency,
              )?.perSecond,
          ),
        })),
    })),
    columns: [
      'Node to Node, 1/s',
      'p50 / p99, ms',
      "crates' plane",
      'Node to Python',
      "crates' plane to Python",
      'Python to Python',
      'grpc-js',
      'Rust to Rust',
      'JS + native CPU, us',
      'RSS, MiB',
    ],
    rows: rows(all),
  };
}

/** Unary and streamed echo between pairs of processes. */
export const echo: Bench = async (effort) => {
  buildPeer('echo_peer');
  const dir = mkdtempSync(join(tmpdir(), 'dynamo-bench-'));
  const peers: Peer[] = [];
  try {
    const wake = await wakeMicros();
    const pairs = await startPairs(dir, peers);
    const idle = Object.fromEntries(
      pairs.map(({ name, caller, server }) => [
        name,
        { callerMiB: caller.memory().rssMiB, serverMiB: server.memory().rssMiB },
      ]),
    );
    const all = await measureAll(pairs, effort);
    const peak = Object.fromEntries(
      pairs.map(({ name, caller, server }) => [
        name,
        { callerMiB: caller.memory().peakMiB, serverMiB: server.memory().peakMiB },
      ]),
    );
    const names = (Object.keys(LABELS) as PairName[]).filter((name) => pairs.some((pair) => pair.name === name));
    return measured(all, names, wake, {
      ...(effort.quick ? QUICK : SETTINGS),
      inFlightBytes: IN_FLIGHT_BYTES,
      loop: 'closed; drain included; median of interleaved rounds',
      ...(pythonMissing === undefined ? {} : { notMeasured: { python: pythonMissing } }),
      memoryIdleMiB: idle,
      memoryPeakMiB: peak,
    });
  } finally {
    await Promise.all(peers.map((peer) => peer.stop()));
    rmSync(dir, { recursive: true, force: true });
  }
};
