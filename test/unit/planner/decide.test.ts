import type { Decision, PlannerConfig } from 'dynamo-node/planner';
import { describe, expect, it } from 'vitest';
import { KV_TOKENS } from '../../helpers/planner/engine.js';
import { Deciding, PROFILE, pool, worker } from '../../helpers/planner/snapshots.js';
import { processorMs } from '../../helpers/processor-time.js';

const SLA: PlannerConfig = {
  maxGpus: 40,
  sla: { ttftMs: 2000, itlMs: 50 },
  pools: { worker: { kvTokens: KV_TOKENS, profile: PROFILE } },
};

const codes = ({ reasons }: Decision): string[] => reasons.map(({ code }) => code);

/** Decides with a pool that follows the targets at once. */
function settle(deciding: Deciding, rate: number | undefined, ticks: number, ready: number): number[] {
  const targets: number[] = [];
  for (let tick = 0; tick < ticks; tick++)
    targets.push(deciding.next({ worker: pool(targets.at(-1) ?? ready) }, rate).targets.worker ?? -1);
  return targets;
}

describe('decide, for a latency', () => {
  it('adds several workers at once for a high rate', () => {
    const deciding = new Deciding(SLA);
    expect(settle(deciding, 120, 3, 1).at(-1)).toBeGreaterThan(6);
  });

  it('never changes a pool under a constant load once it fits', () => {
    const targets = settle(new Deciding(SLA), 60, 500, 4).slice(3);
    expect(new Set(targets).size).toBe(1);
  });

  it('removes workers only after two cold starts of less demand, and then several at once', () => {
    const deciding = new Deciding(SLA);
    const before = settle(deciding, 120, 60, 10).at(-1) as number;
    const targets = settle(deciding, 10, 40, before);
    const first = targets.findIndex((target) => target < before);
    expect(first * 5000).toBeGreaterThanOrEqual(60_000 - 5000);
    expect(targets.at(-1)).toBeLessThanOrEqual(2);
  });

  it.each([100, 777, 5000, 13_333])('removes workers also if it decides every %i ms', (stepMs) => {
    const deciding = new Deciding({ ...SLA, intervalMs: stepMs });
    let ready = 6;
    const traffic = { durationMs: stepMs, requests: stepMs / 1000, inputTokens: 1500, outputTokens: 200 };
    for (let atMs = 0; atMs < 120_000 && ready === 6; atMs += stepMs) {
      const nowMs = deciding.nowMs + stepMs + (atMs % 7);
      ready = deciding.next({ worker: pool(ready) }, 0, { nowMs, traffic }).targets.worker ?? 0;
    }
    expect(ready).toBeLessThan(6);
    expect(deciding.state.pools.worker?.recommendations.length).toBeLessThan(70);
  });

  it('returns the fewest workers without requests', () => {
    const config = { ...SLA, pools: { worker: { minWorkers: 2, profile: PROFILE } } };
    expect(settle(new Deciding(config), 0, 40, 5).at(-1)).toBe(2);
  });

  it('keeps workers that the running requests need', () => {
    const deciding = new Deciding(SLA);
    settle(deciding, 100, 20, 8);
    let ready = 8;
    for (let tick = 0; tick < 40; tick++)
      ready =
        deciding.next({ worker: pool(ready, { decodeRequests: Math.floor(1000 / ready) }) }, 0.2).targets.worker ?? 0;
    expect(ready).toBe(4);
  });

  it('adds more workers for requests that wait than for the demand alone', () => {
    const last = (queuedPrefillTokens: number): Decision => {
      const deciding = new Deciding(SLA);
      settle(deciding, 60, 20, 4);
      return deciding.next({ worker: pool(4, { queuedPrefillTokens }) }, 60);
    };
    expect(last(0).targets.worker).toBe(4);
    const backlog = last(1_000_000);
    expect(backlog.targets.worker).toBeGreaterThan(6);
    expect(codes(backlog)).toContain('backlog');
  });

  it('does not count starting workers twice', () => {
    const deciding = new Deciding(SLA);
    deciding.next({ worker: pool(1) }, 60);
    const wanted = deciding.next({ worker: pool(1) }, 60).targets.worker as number;
    for (let tick = 0; tick < 5; tick++) {
      const { targets } = deciding.next({ worker: pool(1, {}, wanted) }, 60);
      expect(targets.worker).toBeLessThanOrEqual(wanted + 1);
    }
  });

  it('measures the cold start', () => {
    const deciding = new Deciding(SLA);
    deciding.next({ worker: pool(1) }, 60);
    const wanted = deciding.next({ worker: pool(1) }, 60).targets.worker as number;
    for (let tick = 0; tick < 8; tick++) deciding.next({ worker: pool(1, {}, wanted) }, 60);
    deciding.next({ worker: pool(wanted) }, 60);
    expect(deciding.state.coldStartsMs).toEqual([45_000]);
  });

  it('plans prefill and decode apart', () => {
    const profile = PROFILE;
    const config: PlannerConfig = {
      ...{ mode: 'disagg', maxGpus: 60, sla: { ttftMs: 2000, itlMs: 50 } },
      pools: { prefill: { profile }, decode: { profile, kvTokens: KV_TOKENS } },
    };
    const targetsOf = (inputTokens: number, outputTokens: number) => {
      const deciding = new Deciding(config);
      const traffic = { durationMs: 5000, requests: 200, inputTokens, outputTokens };
      const pools = { prefill: pool(1), decode: pool(1) };
      deciding.next(pools, 0, { traffic });
      return deciding.next(pools, 0, { traffic }).targets;
    };
    const [short, long, talkative] = [targetsOf(500, 100), targetsOf(4000, 100), targetsOf(500, 1500)];
    expect(long.prefill).toBeGreaterThan(short.prefill as number);
    expect(talkative.decode).toBeGreaterThan(short.decode as number);
    expect(talkative.prefill).toBe(short.prefill);
  });

  it('returns the same decision for the same arguments, and its state is JSON', () => {
    const [one, other] = [new Deciding(SLA), new Deciding(SLA)];
    for (let tick = 0; tick < 20; tick++)
      expect(one.next({ worker: pool(2) }, 30 + tick)).toEqual(other.next({ worker: pool(2) }, 30 + tick));
  });

  it('says with which figures it decided', () => {
    const deciding = new Deciding(SLA);
    deciding.next({ worker: pool(1) }, 60);
    const [reason] = deciding.next({ worker: pool(1) }, 60).reasons;
    expect(reason).toMatchObject({ role: 'worker', code: 'demand', values: { rate: 60, inputTokens: 1500 } });
  });

  it('says in whole milliseconds how long fewer workers were enough', () => {
    const deciding = new Deciding(SLA);
    deciding.next({ worker: pool(1) }, 60);
    let ready = deciding.next({ worker: pool(1) }, 60).targets.worker as number;
    deciding.next({ worker: pool(1, {}, ready) }, 60);
    deciding.next({ worker: pool(ready) }, 60, { nowMs: deciding.nowMs + 5000.4321 });
    expect(deciding.state.coldStartsMs[0]).toBeCloseTo(10_000.4321);
    const texts: string[] = [];
    for (let tick = 0; tick < 40; tick++) {
      const { targets, reasons } = deciding.next({ worker: pool(ready) }, 10);
      ready = targets.worker as number;
      texts.push(...reasons.map(({ text }) => text));
    }
    expect(texts.filter((text) => /\d\.\d+ ms/.test(text))).toEqual([]);
    expect(texts.some((text) => /^\d+ were enough for 20001 ms$/.test(text))).toBe(true);
  });
});

describe('decide, with faulty inputs', () => {
  const settled = (): Deciding => {
    const deciding = new Deciding(SLA);
    settle(deciding, 60, 30, 4);
    return deciding;
  };

  it('holds without traffic, however long', () => {
    const deciding = settled();
    for (let tick = 0; tick < 100; tick++) {
      const decision = deciding.next({ worker: pool(4) });
      expect(decision.targets.worker).toBe(4);
      expect(codes(decision)).toContain('no-traffic');
    }
  });

  it('adds workers by thresholds without traffic', () => {
    const decision = settled().next({ worker: pool(4, { kvTokens: KV_TOKENS }) });
    expect(decision.targets.worker).toBe(5);
  });

  it('holds if no worker has current metrics', () => {
    const deciding = settled();
    for (const workers of [[], [worker('w0', {}, { ageMs: 60_000 })]])
      for (let tick = 0; tick < 40; tick++) {
        const decision = deciding.next({ worker: { desired: 4, ready: 4, workers } }, 1);
        expect(decision.targets.worker).toBe(4);
        expect(codes(decision)).toContain('no-metrics');
      }
  });

  it.each([
    ['negative', -1],
    ['NaN', Number.NaN],
    ['infinite', Number.POSITIVE_INFINITY],
    ['absurdly large', 1e30],
  ])('ignores the metrics of a worker that are %s', (_, queuedPrefillTokens) => {
    const workers = [...pool(3).workers, worker('w3', { queuedPrefillTokens })];
    expect(settled().next({ worker: { desired: 4, ready: 4, workers } }, 60).targets.worker).toBe(4);
  });

  it.each([
    ['no duration', { durationMs: 0, requests: 300 }],
    ['negative requests', { durationMs: 5000, requests: -1 }],
    ['infinitely many requests', { durationMs: 5000, requests: Number.POSITIVE_INFINITY }],
    ['NaN requests', { durationMs: 5000, requests: Number.NaN }],
  ])('ignores traffic with %s', (_, traffic) => {
    const deciding = settled();
    const decision = deciding.next({ worker: pool(4) }, 0, { traffic });
    expect(decision.targets.worker).toBe(4);
    expect(deciding.next({ worker: pool(4) }, 60).targets.worker).toBe(4);
  });

  it.each([
    ['backwards', -3_600_000],
    ['forwards', 3_600_000],
  ])('holds for one decision if the clock jumps %s, and then continues', (_, jumpMs) => {
    const deciding = settled();
    const jumped = deciding.next({ worker: pool(4) }, 60, { nowMs: deciding.nowMs + jumpMs });
    expect(jumped.targets.worker).toBe(4);
    expect(codes(jumped)).toContain('clock-jump');
    expect(settle(deciding, 60, 20, 4)).toEqual(Array(20).fill(4));
    expect(deciding.state.coldStartsMs).toEqual([]);
  });

  it('does not change for workers that discovery loses and finds again', () => {
    const deciding = settled();
    for (let tick = 0; tick < 40; tick++)
      expect(deciding.next({ worker: pool(tick % 2 === 0 ? 4 : 1, {}, 4) }, 60).targets.worker).toBe(4);
  });

  it('reports workers that never become ready, and does not start more instead', () => {
    const deciding = settled();
    deciding.next({ worker: pool(4) }, 120);
    const wanted = deciding.next({ worker: pool(4) }, 120).targets.worker as number;
    expect(wanted).toBeGreaterThan(4);
    let last: Decision | undefined;
    for (let tick = 0; tick < 60; tick++) {
      last = deciding.next({ worker: pool(4, {}, wanted) }, 120);
      expect(last.targets.worker).toBeLessThan(wanted + 12);
    }
    expect(last && codes(last)).toContain('starting-overdue');
    expect(deciding.state.coldStartsMs).toEqual([]);
  });

  it('decides nothing for a role without counts', () => {
    expect(settled().next({}, 60).targets).toEqual({});
  });

  it.each([
    ['an unknown option', { speed: 1 }, 'config.speed'],
    ['an unknown mode', { mode: 'fast' }, 'config.mode'],
    ['a limit below the fewest workers', { maxGpus: 1, mode: 'disagg' }, 'config.maxGpus'],
    ['fewer workers at most than at least', { pools: { worker: { minWorkers: 3, maxWorkers: 2 } } }, 'maxWorkers'],
    ["objective 'load' without thresholds", { objective: 'load' }, 'config.thresholds'],
    ['a pass without a duration', { pools: { worker: { profile: [{}] } } }, 'profile[0].wallMs'],
    ['an attainment of 1', { sla: { attainment: 1 } }, 'config.sla.attainment'],
  ])('rejects %s with the name of the field', (_, config, field) => {
    expect(() => new Deciding(config as PlannerConfig)).toThrow(field);
  });
});

describe('decide, by thresholds', () => {
  const config = (more: PlannerConfig): PlannerConfig => ({
    maxGpus: 20,
    pools: { worker: { kvTokens: 1000 }, prefill: { contextTokens: 1000 }, decode: { kvTokens: 1000 } },
    ...more,
  });

  it('adds as many workers as the load needs', () => {
    const { targets } = new Deciding(config({ objective: 'throughput' })).next({ worker: pool(2, { kvTokens: 3000 }) });
    expect(targets.worker).toBe(6);
  });

  it('adds none again while workers start, unless the load needs more than these', () => {
    const deciding = new Deciding(config({ objective: 'throughput' }));
    expect(deciding.next({ worker: pool(2, { kvTokens: 1000 }, 3) }).targets.worker).toBe(3);
    expect(deciding.next({ worker: pool(2, { kvTokens: 2500 }, 3) }).targets.worker).toBe(5);
  });

  it('adds workers earlier for objective latency', () => {
    const load = { queuedPrefillTokens: 200 };
    const pools = { prefill: pool(2, load), decode: pool(2, { kvTokens: 500 }) };
    expect(new Deciding(config({ mode: 'disagg', objective: 'throughput' })).next(pools).targets).toEqual({
      prefill: 2,
      decode: 2,
    });
    expect(new Deciding(config({ mode: 'disagg', objective: 'latency' })).next(pools).targets).toEqual({
      prefill: 4,
      decode: 3,
    });
  });

  it('uses the thresholds of objective load', () => {
    const thresholds = { prefillUpTokens: 100, prefillDownTokens: 10, decodeUpShare: 0.5, decodeDownShare: 0.1 };
    const deciding = new Deciding(config({ mode: 'decode', objective: 'load', thresholds }));
    expect(deciding.next({ decode: pool(2, { kvTokens: 600 }) }).targets.decode).toBe(3);
  });

  it('removes workers only if the rest stays below the upper threshold', () => {
    const last = (kvTokens: number): number => {
      const deciding = new Deciding(config({ objective: 'throughput' }));
      let ready = 8;
      for (let tick = 0; tick < 40; tick++)
        ready = deciding.next({ worker: pool(ready, { kvTokens: (kvTokens * 8) / ready }) }).targets.worker ?? 0;
      return ready;
    };
    expect(last(700)).toBe(8);
    expect(last(100)).toBe(1);
    expect(last(300)).toBe(3);
  });
});

describe('decide, for many workers', () => {
  it('takes under 10 ms for 10,000 workers', () => {
    const passes = PROFILE.slice(0, 16);
    const load = { decodeRequests: 100, kvTokens: 160_000 };
    const workers = Array.from({ length: 10_000 }, (_, index) => worker(`w${index}`, load, { passes }));
    const deciding = new Deciding({ ...SLA, maxGpus: 20_000 });
    const snapshot = { worker: { desired: 10_000, ready: 10_000, workers } };
    const times = Array.from({ length: 12 }, () => processorMs(() => deciding.next(snapshot, 100_000)));
    expect(Math.min(...times)).toBeLessThan(10);
  });
});
