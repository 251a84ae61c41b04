import { checkArray, checkObject } from '../check.js';
import type { RoutingRequest } from './routing-request.js';

/** A worker's rank, what is known of it, and the terms of its cost. */
export interface RoutingCandidate {
  readonly workerId: bigint;
  readonly dpRank: number;
  /** Why the request may not go there; null where it may. */
  readonly excluded: string | null;
  /** Blocks of the prompt's beginning that it has on its device, then further ones in host memory, then on disk. */
  readonly deviceBlocks: number;
  readonly hostBlocks: number;
  readonly diskBlocks: number;
  /** Blocks of a shared cache beyond those on the device. */
  readonly sharedBlocks: number;
  /** Tokens that wait for prefill there. */
  readonly activePrefillTokens: number;
  readonly decodeBlocks: number;
  readonly activeRequests: number;
  /** Blocks that need no prefill, weighted by where they lie. */
  readonly overlapCredit: number;
  /** Share of the credit for blocks on the device that the worker's load leaves: 1 is all of it. */
  readonly creditDecay: number;
  /** Blocks to prefill, those of waiting requests too, less the credit, scaled. */
  readonly prefill: number;
  /** Blocks in use once the request is there. */
  readonly decode: number;
  /** Cost of the requests that run there. */
  readonly requests: number;
  readonly taintMultiplier: number;
  /** `(prefill + decode + requests) * taintMultiplier`: the least wins. */
  readonly cost: number;
}

/**
 * Why a router would choose as it would now.
 *
 * It rests on two readings, which every choice makes in this order: of the index, then of the books. The candidates' terms are
 * of these readings, and the winner is what the crates' policy chooses from them, so the two agree whatever is routed
 * meanwhile. Two things a router alone knows, where a session is bound and which workers have an adapter: with those the
 * winner is asked of the router, a moment before the readings.
 */
export interface RoutingExplanation {
  readonly blockSize: number;
  readonly promptTokens: number;
  /** Whole blocks of the prompt. */
  readonly promptBlocks: number;
  /** The configured weights of the terms. */
  readonly weights: Readonly<Record<string, number>>;
  /** By cost, the least first. */
  readonly candidates: readonly RoutingCandidate[];
  readonly winner: { readonly workerId: bigint; readonly dpRank: number };
  /** In words why it is that one. */
  readonly reason: string;
}

type Crossed = Omit<RoutingExplanation, 'candidates' | 'winner' | 'reason'> & {
  candidates: (Omit<RoutingCandidate, 'workerId'> & { workerId: number | bigint })[];
  workerId: number | bigint;
  dpRank: number;
};

export interface Circumstances {
  readonly temperature: number;
  readonly policy: boolean;
  /** Sessions keep to their workers. */
  readonly affinity: boolean;
}

export function explanationFrom(
  crossed: Crossed,
  request: RoutingRequest,
  circumstances: Circumstances,
): RoutingExplanation {
  const { workerId, dpRank, candidates: rows, ...rest } = crossed;
  const candidates = rows.map((row) => ({ ...row, workerId: BigInt(row.workerId) }));
  const winner = { workerId: BigInt(workerId), dpRank };
  return { ...rest, candidates, winner, reason: reasonOf(candidates, winner, request, circumstances) };
}

const EQUAL = 1e-9;

function reasonOf(
  candidates: readonly RoutingCandidate[],
  winner: RoutingExplanation['winner'],
  request: RoutingRequest,
  { temperature, policy, affinity }: Circumstances,
): string {
  const eligible = candidates.filter(({ excluded }) => excluded === null);
  const won = eligible.find(({ workerId, dpRank }) => workerId === winner.workerId && dpRank === winner.dpRank);
  if (request.pinned !== undefined) return 'the request is pinned to it';
  if (policy) return 'the routing policy gave it the least cost; the costs here are the default policy’s';
  if (won === undefined) return 'the router chose it, which has left since';
  if (eligible.length === 1) return 'it is the only worker that may get the request';
  const others = eligible.filter((one) => one !== won);
  const next = others.reduce((best, one) => (one.cost < best.cost ? one : best));
  const least = won.cost <= next.cost + EQUAL;
  if (!least && affinity && request.sessionId !== undefined) return 'its session is bound to it';
  const drawn = request.override?.temperature ?? temperature;
  if (!least) return drawn > 0 ? `drawn at temperature ${drawn}` : 'the router chose it, and loads have changed since';
  const equals = eligible.filter(({ cost }) => Math.abs(cost - won.cost) <= EQUAL).length;
  if (equals > 1) return `drawn among ${equals} workers of equal cost ${shown(won.cost)}`;
  return `the least cost, ${shown(won.cost)} against ${shown(next.cost)}: ${differences(won, next)}`;
}

const TERMS = [
  ['overlapCredit', 'blocks of credit for its cache'],
  ['prefill', 'blocks to prefill'],
  ['decode', 'blocks in use'],
  ['requests', 'for running requests'],
  ['taintMultiplier', 'times its taints'],
] as const;

function differences(won: RoutingCandidate, next: RoutingCandidate): string {
  const told = TERMS.filter(([term]) => Math.abs(won[term] - next[term]) > EQUAL);
  return told.map(([term, words]) => `${shown(won[term])} ${words} (against ${shown(next[term])})`).join(', ');
}

function shown(value: number): string {
  return Number.isInteger(value) ? String(value) : value.toFixed(2);
}

/** An explanation as a table, a candidate a line, the winner marked. */
export function formatExplanation(explanation: RoutingExplanation): string {
  checkObject('formatExplanation explanation', explanation);
  checkArray('formatExplanation explanation.candidates', explanation.candidates, 'candidates');
  const { candidates, winner, promptTokens, promptBlocks, blockSize } = explanation;
  const rows = candidates.map((one) => [
    one.workerId === winner.workerId && one.dpRank === winner.dpRank ? '→' : ' ',
    `${one.workerId}/${one.dpRank}`,
    ...[one.deviceBlocks, one.hostBlocks, one.diskBlocks, one.overlapCredit, one.prefill, one.decode, one.requests].map(
      shown,
    ),
    `×${shown(one.taintMultiplier)}`,
    one.excluded ?? shown(one.cost),
  ]);
  const head = [
    '',
    'worker/rank',
    'device',
    'host',
    'disk',
    'credit',
    'prefill',
    'decode',
    'requests',
    'taints',
    'cost',
  ];
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => (row[column] as string).length)),
  );
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) => cell.padStart(widths[column] as number))
      .join('  ')
      .trimEnd();
  return [
    `prompt of ${promptTokens} tokens, ${promptBlocks} whole blocks of ${blockSize}`,
    line(head),
    ...rows.map(line),
    `worker ${winner.workerId}: ${explanation.reason}`,
  ].join('\n');
}
