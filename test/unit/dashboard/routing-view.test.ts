import type { RoutingCandidate, RoutingExplanation } from 'dynamo-node';
import { describe, expect, it } from 'vitest';
import { type RouteQuestion, routingViewOf } from '../../../lib/dashboard/routing-view.js';

const candidate = (
  workerId: bigint,
  deviceBlocks: number,
  fields: Partial<RoutingCandidate> = {},
): RoutingCandidate => ({
  workerId,
  dpRank: 0,
  excluded: null,
  deviceBlocks,
  hostBlocks: 0,
  diskBlocks: 0,
  sharedBlocks: 0,
  activePrefillTokens: 0,
  decodeBlocks: 0,
  activeRequests: 0,
  overlapCredit: deviceBlocks,
  creditDecay: 1,
  prefill: 4 - deviceBlocks,
  decode: 4,
  requests: 0,
  taintMultiplier: 1,
  cost: 8 - deviceBlocks,
  ...fields,
});

const explanation = (...candidates: readonly RoutingCandidate[]): RoutingExplanation => ({
  blockSize: 16,
  promptTokens: 64,
  promptBlocks: 4,
  weights: {},
  candidates,
  winner: { workerId: 1n, dpRank: 0 },
  reason: '',
});

const question = (hitRate: number): RouteQuestion => ({
  endpoint: 'dynamo.worker.generate',
  service: 'Worker',
  blockSize: 16,
  tokens: Array.from({ length: 64 }, (_, index) => index),
  chosen: '1',
  hitRate,
  idOf: (id) => `Worker#${id}`,
});

describe('routingViewOf', () => {
  it('takes away the blocks that the request itself left at the chosen worker', () => {
    const { candidates, reason } = routingViewOf(explanation(candidate(1n, 4), candidate(2n, 1)), question(0.75));
    expect(candidates).toMatchObject([
      { instance: 'Worker#1', isWinner: true, cachedBlocks: 3, prefill: 1, cost: 5 },
      { instance: 'Worker#2', isWinner: false, cachedBlocks: 1, prefill: 3, cost: 7 },
    ]);
    expect(reason).toBe('the lowest cost: it had 3 blocks of the prompt, the others at most 1');
  });

  it('says that equal costs were drawn', () => {
    const { reason } = routingViewOf(explanation(candidate(1n, 4), candidate(2n, 0)), question(0));
    expect(reason).toBe('drawn among workers of equal cost: it had 0 blocks of the prompt, the others at most 0');
  });

  it('says that the load decided if another worker had more of the prompt', () => {
    const { reason, candidates } = routingViewOf(explanation(candidate(1n, 4), candidate(2n, 2)), question(0));
    expect(reason).toBe('the load of other requests: it had 0 blocks of the prompt, the others at most 2');
    expect(candidates.map(({ instance }) => instance)).toEqual(['Worker#2', 'Worker#1']);
  });

  it('knows a worker that was the only one, and one that has left', () => {
    const out = candidate(2n, 4, { excluded: 'busy' });
    expect(routingViewOf(explanation(candidate(1n, 4), out), question(0)).reason).toBe('it was the only worker');
    expect(routingViewOf(explanation(candidate(2n, 4)), question(0)).reason).toBe('the worker has left since');
  });
});
