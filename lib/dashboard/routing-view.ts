import type { RoutingExplanation } from '../router/explanation.js';
import type { RoutingCandidateView, RoutingView } from './view.js';

/** A choice of a KV router that is to be explained. */
export interface RouteQuestion {
  /** The endpoint of the workers, as `namespace.component.endpoint`. */
  readonly endpoint: string;
  /** What the page calls it. */
  readonly service: string;
  /** Tokens in a block. */
  readonly blockSize: number;
  /** The prompt. */
  readonly tokens: readonly number[];
  /** The instance that was chosen, in decimal. */
  readonly chosen: string;
  /** The share of the blocks of the prompt that the router expected in its cache, 0 to 1. */
  readonly hitRate: number;
  /** The `id` of an instance in the snapshot, by its id in discovery. */
  readonly idOf: (instanceId: string) => string;
}

const SOURCE =
  'Computed after the request by a router of this view, from the blocks that the workers say they have. ' +
  'The blocks that the request itself left at the chosen worker are not counted. ' +
  'The load of other requests is not known here, so the costs of the frontend may differ.';

/** The candidates. The chosen worker has what the router of the frontend expected in its cache before the request. */
function candidatesOf({ candidates }: RoutingExplanation, question: RouteQuestion): RoutingCandidateView[] {
  const { tokens, blockSize, hitRate, chosen, idOf } = question;
  const expected = Math.round(hitRate * Math.ceil(tokens.length / blockSize));
  return candidates
    .map((one) => {
      const { workerId, dpRank, excluded, deviceBlocks, decode, activeRequests, requests, taintMultiplier } = one;
      const isWinner = String(workerId) === chosen;
      const cachedBlocks = isWinner ? Math.min(expected, deviceBlocks) : deviceBlocks;
      const prefill = one.prefill + deviceBlocks - cachedBlocks;
      return {
        ...{ instance: idOf(String(workerId)), dpRank, isWinner, cachedBlocks, prefill, decode, activeRequests },
        excluded: excluded ?? undefined,
        cost: (prefill + decode + requests) * taintMultiplier,
      };
    })
    .sort((a, b) => a.cost - b.cost);
}

function reasonOf(candidates: readonly RoutingCandidateView[]): string {
  const winner = candidates.find(({ isWinner }) => isWinner);
  const others = candidates.filter(({ isWinner, excluded }) => !isWinner && excluded === undefined);
  if (winner === undefined) return 'the worker has left since';
  if (others.length === 0) return 'it was the only worker';
  const best = Math.min(...others.map(({ cost }) => cost));
  const cached = Math.max(...others.map(({ cachedBlocks }) => cachedBlocks));
  const blocks = `it had ${winner.cachedBlocks} blocks of the prompt, the others at most ${cached}`;
  if (winner.cost < best) return `the lowest cost: ${blocks}`;
  return winner.cost === best
    ? `drawn among workers of equal cost: ${blocks}`
    : `the load of other requests: ${blocks}`;
}

/** An explanation that was made after the request, as it was before it. */
export function routingViewOf(explanation: RoutingExplanation, question: RouteQuestion): RoutingView {
  const candidates = candidatesOf(explanation, question);
  const { promptTokens, promptBlocks } = explanation;
  const { service } = question;
  return { service, promptTokens, promptBlocks, reason: reasonOf(candidates), candidates, source: SOURCE };
}
