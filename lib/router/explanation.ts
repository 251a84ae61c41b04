import { unpack } from '../addon/codec.js';
import { checkArray, checkFunction, checkObject } from '../check.js';
import { custom, integer, type OptionTable, optionTable } from '../options.js';
import { decidePrefillPlace, type PrefillPlaceDecision } from './conditional-disaggregation.js';
import { KV_ROUTER_DEFAULTS, type KvRouterConfig } from './config.js';
import type { RoutingRequest } from './routing-request.js';
import type { WorkerType } from './worker-type.js';

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
  /** Who prefills. Only from a router of decode workers whose `conditional_disagg_enabled` is true. */
  readonly prefill?: PrefillPlaceDecision;
}

/** A router that explains its choices: a `KvRouter` or a `SelectionService`. */
export interface ExplainingRouter {
  /** Returns each worker's terms of cost for a request, and why one wins. */
  explain(request: RoutingRequest): Promise<RoutingExplanation>;
}

/**
 * What a router of decode workers does not know itself. It matters only with `conditional_disagg_enabled`, for the
 * field `prefill` of the explanation.
 */
export interface ExplainOptions {
  /** The router of the prefill workers. @default their load is unknown */
  readonly prefillRouter?: ExplainingRouter;
  /** `maxNumBatchedTokens` of a prefill worker. @default 10000000, as for a worker that does not advertise it */
  readonly prefillBatchTokens?: number;
  /** `totalKvBlocks` of a decode worker. @default unknown */
  readonly totalKvBlocks?: number;
}

/** Dynamo's capacity of a worker that does not advertise one. Source: `dynamo-kv-router` `scheduling/queue.rs`. */
const DEFAULT_BATCH_TOKENS = 10_000_000;

export const EXPLAIN_OPTIONS: OptionTable<ExplainOptions> = optionTable<ExplainOptions>({
  prefillRouter: custom<ExplainingRouter>('a router', (path, router) => {
    checkObject(path, router);
    checkFunction(`${path}.explain`, router['explain']);
  }).about('The router of the prefill workers.'),
  prefillBatchTokens: integer(0).about('`maxNumBatchedTokens` of a prefill worker.'),
  totalKvBlocks: integer(0).about('`totalKvBlocks` of a decode worker.'),
});

type NativeExplanation = Omit<RoutingExplanation, 'candidates' | 'winner' | 'reason' | 'prefill'> & {
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

/** Adds who prefills to the explanation of a router of decode workers with conditional disaggregation. */
export async function withPrefillPlace(
  explanation: RoutingExplanation,
  request: RoutingRequest,
  router: { readonly config?: KvRouterConfig; readonly workerType?: WorkerType },
  options: ExplainOptions,
): Promise<RoutingExplanation> {
  const { config = {}, workerType } = router;
  if (workerType !== 'decode' || config.conditional_disagg_enabled !== true) return explanation;
  const inputs = {
    promptTokens: explanation.promptTokens,
    cachedTokens: cachedTokensOf(explanation, config),
    ...(await prefillLoad(request, config, options)),
    ...decodeLoad(explanation, config, options),
  };
  return { ...explanation, prefill: decidePrefillPlace(config, inputs) };
}

function winnerOf({ candidates, winner }: RoutingExplanation): RoutingCandidate | undefined {
  return candidates.find((candidate) => isWinner(candidate, winner));
}

function cachedTokensOf(explanation: RoutingExplanation, config: KvRouterConfig): number {
  const { deviceBlocks = 0, hostBlocks = 0, diskBlocks = 0 } = winnerOf(explanation) ?? {};
  const { host_cache_hit_weight, disk_cache_hit_weight } = { ...KV_ROUTER_DEFAULTS, ...config };
  const blocks = deviceBlocks + host_cache_hit_weight * hostBlocks + disk_cache_hit_weight * diskBlocks;
  return Math.round(blocks * explanation.blockSize);
}

async function prefillLoad(
  request: RoutingRequest,
  { conditional_disagg_prefill_busy_threshold, router_queue_threshold }: KvRouterConfig,
  { prefillRouter, prefillBatchTokens = DEFAULT_BATCH_TOKENS }: ExplainOptions,
): Promise<{ isPrefillBusy?: boolean }> {
  const threshold = conditional_disagg_prefill_busy_threshold ?? router_queue_threshold ?? null;
  if (threshold === null || prefillRouter === undefined) return {};
  const chosen = winnerOf(await prefillRouter.explain(request));
  return chosen === undefined ? {} : { isPrefillBusy: chosen.activePrefillTokens > threshold * prefillBatchTokens };
}

function decodeLoad(
  explanation: RoutingExplanation,
  { conditional_disagg_decode_busy_threshold: threshold = null }: KvRouterConfig,
  { totalKvBlocks }: ExplainOptions,
): { isDecodeBusy?: boolean } {
  const chosen = winnerOf(explanation);
  if (threshold === null || totalKvBlocks === undefined || chosen === undefined) return {};
  return { isDecodeBusy: chosen.decodeBlocks > threshold * totalKvBlocks };
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

/**
 * An explanation as a table with one line for each candidate. An arrow marks the winner. A last line says who prefills,
 * if the explanation does.
 */
export function formatExplanation(explanation: RoutingExplanation): string {
  checkObject('formatExplanation explanation', explanation);
  checkArray('formatExplanation explanation.candidates', explanation.candidates, 'candidates');
  const { candidates, winner, reason, promptTokens, promptBlocks, blockSize, prefill } = explanation;
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
    ...(prefill === undefined ? [] : [`prefill is ${prefill.place}: ${prefill.reason}`]),
  ].join('\n');
}
