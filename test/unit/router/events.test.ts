import {
  formatExplanation,
  KV_ROUTER_DEFAULTS,
  type RouterEvent,
  type RoutingCandidate,
  type RoutingExplanation,
} from 'dynamo-node';
import { describe, expect, it } from 'vitest';
import { pack } from '../../../lib/addon/codec.js';
import { KV_ROUTER_CONFIG } from '../../../lib/router/config.js';
import { decodeEvents, encodeEvents } from '../../../lib/router/events.js';
import { explanationFrom } from '../../../lib/router/explanation.js';
import { asBytes } from '../../../lib/words.js';

describe('encoded events', () => {
  it('decode to the same events', () => {
    const events: RouterEvent[] = [
      {
        kind: 'stored',
        workerId: 2n ** 64n - 1n,
        dpRank: 2 ** 32 - 1,
        tier: 'disk',
        eventId: 2n ** 63n,
        blockHashes: BigUint64Array.of(1n, 2n ** 64n - 1n),
        tokensHashes: BigUint64Array.of(3n, 4n),
        parentHash: 0n,
        startPosition: 9,
      },
      { kind: 'removed', workerId: 1n, dpRank: 0, tier: 'external', eventId: 0n, blockHashes: BigUint64Array.of(7n) },
      { kind: 'cleared', workerId: 1n, dpRank: 0, tier: 'device', eventId: 3n },
    ];
    expect(decodeEvents(asBytes(encodeEvents('x', events, false)))).toEqual(events);
  });

  it('reject invalid events and name the field', () => {
    const stored = { kind: 'stored', workerId: 1n, blockHashes: [1n], tokensHashes: [] } as const;
    expect(() => encodeEvents('events', [stored], false)).toThrow(
      /events\[0\]\.tokensHashes: expected 1 hashes, one per block, got 0/,
    );
    expect(() => encodeEvents('events', [{ kind: 'gone' } as never], false)).toThrow(/events\[0\]\.kind/);
    expect(() => encodeEvents('events', [{ kind: 'cleared', tier: 'tape' } as never], false)).toThrow(
      /events\[0\]\.tier/,
    );
    expect(() => encodeEvents('events', [{ kind: 'cleared', workerId: -1n } as never], false)).toThrow(RangeError);
    expect(() => encodeEvents('events', [{ kind: 'cleared', eventId: 1.5 }], false)).toThrow(
      'events[0].eventId: expected an integer from 0 to 9007199254740991, got 1.5',
    );
    const wide = { ...stored, tokensHashes: [1n], blockHashes: [2n ** 64n] };
    expect(() => encodeEvents('events', [wide], false)).toThrow(
      'events[0].blockHashes[0]: expected a bigint from 0 to 2^64-1, got 18446744073709551616',
    );
    const child = { ...stored, tokensHashes: [1n], parentHash: 7 as never };
    expect(() => encodeEvents('events', [child], false)).toThrow('events[0].parentHash: expected a bigint, got 7');
  });
});

describe('the configuration of a router', () => {
  it('accepts its defaults', () => KV_ROUTER_CONFIG.check('config', KV_ROUTER_DEFAULTS));

  it('rejects unknown fields and wrong types, and names the field', () => {
    expect(() => KV_ROUTER_CONFIG.check('config', { overlap: 1 })).toThrow(/config\.overlap: unknown option/);
    expect(() => KV_ROUTER_CONFIG.check('config', { use_kv_events: 1 })).toThrow(
      /config\.use_kv_events: expected a boolean, got 1/,
    );
    expect(() => KV_ROUTER_CONFIG.check('config', { router_temperature: Number.NaN })).toThrow(RangeError);
  });
});

const candidate = (workerId: bigint, cost: number, more: Partial<RoutingCandidate> = {}): RoutingCandidate => ({
  workerId,
  dpRank: 0,
  excluded: null,
  deviceBlocks: 0,
  hostBlocks: 0,
  diskBlocks: 0,
  sharedBlocks: 0,
  activePrefillTokens: 0,
  decodeBlocks: 0,
  activeRequests: 0,
  overlapCredit: 0,
  creditDecay: 1,
  prefill: cost,
  decode: 0,
  requests: 0,
  taintMultiplier: 1,
  cost,
  ...more,
});

describe('an explanation', () => {
  const none = { temperature: 0, hasPolicy: false, hasSessionAffinity: false };
  const explain = (candidates: RoutingCandidate[], workerId: bigint, request = {}, traits = none): RoutingExplanation =>
    explanationFrom(
      pack({ blockSize: 4, promptTokens: 8, promptBlocks: 2, weights: {}, candidates, workerId, dpRank: 0 }),
      { tokens: [1], ...request },
      traits,
    );

  it('names the terms that decided', () => {
    const { reason } = explain([candidate(1n, 1, { overlapCredit: 2 }), candidate(2n, 3)], 1n);
    expect(reason).toBe(
      'the lowest cost, 1 against 3: 2 blocks of credit for its cache (against 0), 1 blocks to prefill (against 3)',
    );
  });

  it.each([
    ['drawn among 2 workers of equal cost 1', [candidate(1n, 1), candidate(2n, 1)], {}, none],
    ['it is the only eligible worker', [candidate(1n, 5), candidate(2n, 1, { excluded: 'x' })], {}, none],
    ['the request is pinned to it', [candidate(1n, 5), candidate(2n, 1)], { pinned: { workerId: 1n } }, none],
    [
      'its session is bound to it',
      [candidate(1n, 5), candidate(2n, 1)],
      { sessionId: 's' },
      { ...none, hasSessionAffinity: true },
    ],
    ['drawn at temperature 0.5', [candidate(1n, 5), candidate(2n, 1)], {}, { ...none, temperature: 0.5 }],
  ])('gives the reason: %s', (reason, candidates, request, traits) => {
    expect(explain(candidates, 1n, request, traits).reason).toBe(reason);
  });

  it('is formatted as a table', () => {
    const table = formatExplanation(
      explain([candidate(1n, 1.5), candidate(22n, 3, { excluded: 'lacks a required taint' })], 1n),
    );
    expect(table.split('\n')).toEqual([
      'prompt of 8 tokens, 2 whole blocks of 4',
      expect.stringMatching(/^ +worker\/rank .* cost$/),
      expect.stringMatching(/^→ +1\/0 .* 1\.50$/),
      expect.stringMatching(/^ +22\/0 .* lacks a required taint$/),
      'worker 1: it is the only eligible worker',
    ]);
  });
});
