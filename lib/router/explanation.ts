import { unpack } from '../addon/codec.js';
import { checkArray, checkObject } from '../check.js';
import type { RoutingRequest } from './routing-request.js';

/** One rank of a worker, its load, and the terms of its cost. */
export interface RoutingCandidate {
  readonly workerId: bigint;
  readonly dpRank: number;
  /** Why the request must not go there. Null if it may. */
  readonly excluded: string | null;
  /** Blocks of the prompt's beginning on its device. */
  readonly deviceBlocks: number;
  /** The blocks after those, in host memory. */
  readonly hostBlocks: number;
  /** The blocks after those, on disk. */
  readonly diskBlocks: number;
  /** Blocks of a shared cache after those on the device. */
  readonly sharedBlocks: number;
  /** Tokens that wait for prefill there. */
  readonly activePrefillTokens: number;
  readonly decodeBlocks: number;
  readonly activeRequests: number;
  /** Blocks that need no prefill, weighted by tier. */
  readonly overlapCredit: number;
  /** Share of the credit for device blocks that remains under the worker's load, from 0 to 1. */
  readonly creditDecay: number;
  /** Blocks to prefill, including those of waiting requests, minus the credit, scaled. */
  readonly prefill: number;
  /** Blocks in use with this request. */
  readonly decode: number;
  /** Cost of the requests that run there. */
  readonly requests: number;
  readonly taintMultiplier: number;
  /** `(prefill + decode + requests) * taintMultiplier`. The lowest cost wins. */
  readonly cost: number;
}

/**
 * Why a router would choose a worker now.
 *
 * The router takes two snapshots, in the order of every choice: first of the index, then of the load. All terms are
 * computed from these snapshots. The crates' policy chooses the winner from the same snapshots, so terms and winner
 * always agree.
 *
 * Session affinity and LoRA placement are known only inside the router. For requests that use them, the winner is taken
 * from the router itself, just before the snapshots.
 */
export interface RoutingExplanation {
  readonly blockSize: number;
  readonly promptTokens: number;
  /** Whole blocks of the prompt. */
  readonly promptBlocks: number;
  /** The configured weights of the terms. */
  readonly weights: Readonly<Record<string, number>>;
  /** Sorted by cost, lowest first. */
  readonly candidates: readonly RoutingCandidate[];
  readonly winner: { readonly workerId: bigint; readonly dpRank: number };
  /** Why the winner was chosen, in words. */
  readonly reason: string;
}

type NativeExplanation = Omit<RoutingExplanation, 'candidates' | 'winner' | 'reason'> & {
  readonly candidates: readonly (Omit<RoutingCandidate, 'workerId'> & { readonly workerId: number | bigint })[];
  readonly workerId: number | bigint;
  readonly dpRank: number;
};

/** What a choice depends on besides costs. */
export interface RouterTraits {
  readonly temperature: number;
  readonly hasPolicy: boolean;
  readonly hasSessionAffinity: boolean;
}

export function explanationFrom(bytes: Uint8Array, request: RoutingRequest, traits: RouterTraits): RoutingExplanation {
  const { workerId, dpRank, candidates: rows, ...prompt } = unpack(bytes) as NativeExplanation;
  const candidates = rows.map((row) => ({ ...row, workerId: BigInt(row.workerId) }));
  const winner = { workerId: BigInt(workerId), dpRank };
  return { ...prompt, candidates, winner, reason: reasonFor(winner, candidates, request, traits) };
}

/** Costs and terms that differ by less are equal. */
const TOLERANCE = 1e-9;

function isWinner(candidate: RoutingCandidate, winner: RoutingExplanation['winner']): boolean {
  return candidate.workerId === winner.workerId && candidate.dpRank === winner.dpRank;
}

function reasonFor(
  winner: RoutingExplanation['winner'],
  candidates: readonly RoutingCandidate[],
  request: RoutingRequest,
  { temperature, hasPolicy, hasSessionAffinity }: RouterTraits,
): string {
  const eligible = candidates.filter(({ excluded }) => excluded === null);
  const chosen = eligible.find((candidate) => isWinner(candidate, winner));
  if (request.pinned !== undefined) return 'the request is pinned to it';
  if (hasPolicy)
    return 'the routing policy returned the lowest cost for it; these costs are those of the default policy';
  if (chosen === undefined) return 'the router chose it, but it has left since';
  if (eligible.length === 1) return 'it is the only eligible worker';

  const others = eligible.filter((candidate) => candidate !== chosen);
  const cheapest = others.reduce((best, candidate) => (candidate.cost < best.cost ? candidate : best));
  if (chosen.cost > cheapest.cost + TOLERANCE) {
    if (hasSessionAffinity && request.sessionId !== undefined) return 'its session is bound to it';
    const effective = request.override?.temperature ?? temperature;
    return effective > 0 ? `drawn at temperature ${effective}` : 'the router chose it, but loads have changed since';
  }
  const equal = eligible.filter(({ cost }) => Math.abs(cost - chosen.cost) <= TOLERANCE).length;
  if (equal > 1) return `drawn among ${equal} workers of equal cost ${formatNumber(chosen.cost)}`;
  const costs = `${formatNumber(chosen.cost)} against ${formatNumber(cheapest.cost)}`;
  return `the lowest cost, ${costs}: ${decisiveTerms(chosen, cheapest)}`;
}

const TERMS = [
  ['overlapCredit', 'blocks of credit for its cache'],
  ['prefill', 'blocks to prefill'],
  ['decode', 'blocks in use'],
  ['requests', 'for running requests'],
  ['taintMultiplier', 'times its taints'],
] as const;

/** The terms in which two candidates differ. */
function decisiveTerms(chosen: RoutingCandidate, other: RoutingCandidate): string {
  return TERMS.filter(([term]) => Math.abs(chosen[term] - other[term]) > TOLERANCE)
    .map(([term, label]) => `${formatNumber(chosen[term])} ${label} (against ${formatNumber(other[term])})`)
    .join(', ');
}

function formatNumber(value: number): string {
  return Number.isInteger(value) ? String(value) : value.toFixed(2);
}

/** A column of the table: its title and its cell for a candidate. */
type Column = readonly [title: string, cell: (candidate: RoutingCandidate) => string];

const COLUMNS: readonly Column[] = [
  ['worker/rank', ({ workerId, dpRank }) => `${workerId}/${dpRank}`],
  ['device', ({ deviceBlocks }) => formatNumber(deviceBlocks)],
  ['host', ({ hostBlocks }) => formatNumber(hostBlocks)],
  ['disk', ({ diskBlocks }) => formatNumber(diskBlocks)],
  ['credit', ({ overlapCredit }) => formatNumber(overlapCredit)],
  ['prefill', ({ prefill }) => formatNumber(prefill)],
  ['decode', ({ decode }) => formatNumber(decode)],
  ['requests', ({ requests }) => formatNumber(requests)],
  ['taints', ({ taintMultiplier }) => `×${formatNumber(taintMultiplier)}`],
  ['cost', ({ excluded, cost }) => excluded ?? formatNumber(cost)],
];

/** An explanation as a table with one line for each candidate. An arrow marks the winner. */
export function formatExplanation(explanation: RoutingExplanation): string {
  checkObject('formatExplanation explanation', explanation);
  checkArray('formatExplanation explanation.candidates', explanation.candidates, 'candidates');
  const { candidates, winner, reason, promptTokens, promptBlocks, blockSize } = explanation;
  const columns: readonly Column[] = [['', (candidate) => (isWinner(candidate, winner) ? '→' : ' ')], ...COLUMNS];
  const rows = [
    columns.map(([title]) => title),
    ...candidates.map((candidate) => columns.map(([, cell]) => cell(candidate))),
  ];
  const widths = columns.map((_, column) => Math.max(...rows.map((row) => (row[column] as string).length)));
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell.padStart(widths[column] as number))
      .join('  ')
      .trimEnd(),
  );
  return [
    `prompt of ${promptTokens} tokens, ${promptBlocks} whole blocks of ${blockSize}`,
    ...lines,
    `worker ${winner.workerId}: ${reason}`,
  ].join('\n');
}
