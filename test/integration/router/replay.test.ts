import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type ReplayOptions,
  type ReplayReport,
  type ReplayScalingPolicy,
  type ReplayScalingSnapshot,
  replayTrace,
} from 'dynamo-node';
import { type Decision, replayPlanner } from 'dynamo-node/planner';
import { describe, expect, it, onTestFinished } from 'vitest';
import { mooncakeTrace } from '../../helpers/router/mooncake.js';

const STARTUP_SECONDS = 10;
const engine = {
  engine: { backend: 'vllm', block_size: 64, num_gpu_blocks: 16384, max_num_seqs: 256, max_num_batched_tokens: 8192 },
  startup_time: STARTUP_SECONDS,
};
const roles = (worker_type: string) => ({ ...engine, engine: { ...engine.engine, worker_type } });
const trace = mooncakeTrace();
const aggregated: ReplayOptions = {
  trace,
  pool: { kind: 'aggregated', workers: 2, engine },
  mode: 'round_robin',
};
const disaggregated: ReplayOptions = {
  trace,
  pool: {
    kind: 'disaggregated',
    prefillWorkers: 2,
    decodeWorkers: 2,
    prefillEngine: roles('prefill'),
    decodeEngine: roles('decode'),
  },
  mode: 'round_robin',
};

/** The sums over the intervals between events: another tick changes the order of the additions. */
const SUMMED = /_worker_seconds$|^gpu_hours$/;

/** The report without how long the simulation took. */
const simulated = (report: ReplayReport): object =>
  Object.fromEntries(
    Object.entries(report)
      .filter(([name]) => !/wall_time|^processed_.*_per_s$/.test(name))
      .map(([name, value]) => [name, SUMMED.test(name) ? Number((value as number).toPrecision(12)) : value]),
  );

/** A policy that remembers what it has seen. */
function watching(
  decide: (snapshot: ReplayScalingSnapshot) => ReturnType<ReplayScalingPolicy['decide']>,
  more: Partial<ReplayScalingPolicy> = {},
) {
  const seen: ReplayScalingSnapshot[] = [];
  return {
    seen,
    scaling: { ...more, decide: (snapshot: ReplayScalingSnapshot) => (seen.push(snapshot), decide(snapshot)) },
  };
}

const later = ({ nowMs }: ReplayScalingSnapshot) => ({ nextTickMs: nowMs + 5000 });

describe('a replay with a scaling policy', { timeout: 120_000 }, () => {
  it.each([
    ['aggregated', aggregated],
    ['disaggregated', disaggregated],
  ])('has the figures of a static fleet if the policy never changes anything, %s', async (_, options) => {
    const { seen, scaling } = watching(later);
    const [fixed, scaled] = [await replayTrace(options), await replayTrace({ ...options, scaling })];
    expect(simulated(scaled)).toEqual(simulated(fixed));
    expect(seen.length).toBeGreaterThan(30);
    expect(seen.map(({ tick, nowMs }) => [tick, nowMs])).toEqual(seen.map((_, tick) => [tick, 5000 * (tick + 1)]));
  });

  it('shows the pools, the passes and the traffic of each interval', async () => {
    const { seen, scaling } = watching(later);
    const report = await replayTrace({ ...disaggregated, scaling });
    for (const { pools } of seen) {
      expect(Object.keys(pools).sort()).toEqual(['decode', 'prefill']);
      for (const pool of Object.values(pools))
        expect(pool).toMatchObject({ active: [0, 1], starting: [], draining: [] });
    }
    const passes = seen.flatMap(({ pools }) => [...(pools.prefill?.passes ?? []), ...(pools.decode?.passes ?? [])]);
    expect(passes.some(({ prefillTokens, wallMs }) => prefillTokens > 1000 && wallMs > 16)).toBe(true);
    expect(passes.some(({ decodeRequests, decodeKvTokens }) => decodeRequests > 1 && decodeKvTokens > 1000)).toBe(true);
    expect(new Set(passes.map(({ worker }) => worker))).toEqual(new Set([0, 1]));
    const arrived = seen.reduce((sum, { traffic }) => sum + traffic.requests, 0);
    expect(arrived).toBeGreaterThan(900);
    expect(arrived).toBeLessThanOrEqual(report.num_requests);
    expect(seen.every(({ traffic }) => Math.abs(traffic.durationMs - 5000) < 1)).toBe(true);
    expect(seen.some(({ traffic }) => (traffic.inputTokens ?? 0) > 1000 && (traffic.ttftMs ?? 0) > 0)).toBe(true);
  });

  it('starts workers that become ready after their start-up, and drains others', async () => {
    const { seen, scaling } = watching((snapshot) => ({
      targets: { worker: snapshot.tick < 6 ? 5 : 3 },
      ...later(snapshot),
    }));
    const report = await replayTrace({ ...aggregated, scaling, sla: { ttftMs: 2000, itlMs: 50 } });
    const counts = seen.map(({ pools }) => [pools.worker?.active.length, pools.worker?.starting.length]);
    expect(counts.slice(0, 4)).toEqual([
      [2, 0],
      [2, 3],
      [5, 0],
      [5, 0],
    ]);
    expect(counts.at(-1)).toEqual([3, 0]);
    const fixed = await replayTrace({ ...aggregated, sla: { ttftMs: 2000, itlMs: 50 } });
    expect(report.completed_requests).toBe(report.num_requests);
    expect(report.mean_ttft_ms).toBeLessThan(0.7 * fixed.mean_ttft_ms);
    expect(report['gpu_hours']).toBeGreaterThan(fixed['gpu_hours'] as number);
    expect(report['goodput_completed_requests']).toBeGreaterThan(fixed['goodput_completed_requests'] as number);
  });

  it('ends the ticks if the decision names no next one', async () => {
    const { seen, scaling } = watching(() => ({ targets: { worker: 3 } }), { firstTickMs: 1000 });
    await replayTrace({ ...aggregated, scaling });
    expect(seen.map(({ nowMs }) => nowMs)).toEqual([1000]);
  });

  it('waits for the promise of an asynchronous policy', async () => {
    const slow = watching(async (snapshot) => (await sleep(1), later(snapshot)));
    expect(simulated(await replayTrace({ ...aggregated, scaling: slow.scaling }))).toEqual(
      simulated(await replayTrace(aggregated)),
    );
  });

  it('rejects with the error that the policy throws, and with the field of an invalid decision', async () => {
    const mistake = new Error('no forecast');
    const fails = (decide: (snapshot: ReplayScalingSnapshot) => never) =>
      replayTrace({ ...aggregated, scaling: { decide } });
    await expect(
      fails(() => {
        throw mistake;
      }),
    ).rejects.toBe(mistake);
    const invalid: [unknown, string][] = [
      [5, 'scaling.decide result: expected an object, got 5'],
      [{ targets: { prefill: 1 } }, 'scaling.decide result.targets.prefill: unknown name; known are worker'],
      [{ targets: { worker: 0 } }, 'scaling.decide result.targets.worker: expected an integer from 1 to 16384, got 0'],
      [{ targets: { worker: 1.5 } }, 'scaling.decide result.targets.worker: expected an integer'],
      [{ nextTickMs: 5000 }, 'scaling.decide result.nextTickMs: expected a time after 5000, got 5000'],
      [{ nextTickMs: Number.NaN }, 'scaling.decide result.nextTickMs: expected a finite number'],
    ];
    for (const [decision, message] of invalid)
      await expect(
        fails(() => decision as never),
        message,
      ).rejects.toThrow(message);
    await expect(replayTrace({ ...aggregated, scaling: {} as never })).rejects.toThrow(
      'replayTrace options.scaling.decide: expected a function, got undefined',
    );
  });

  it('rejects with its deadline if the policy never answers', async () => {
    const { seen, scaling } = watching(() => new Promise<never>(() => {}), { timeoutMs: 50 });
    await expect(replayTrace({ ...aggregated, scaling })).rejects.toMatchObject({
      code: 'DYN_DEADLINE_EXCEEDED',
      reason: 'replay.policy_deadline',
    });
    expect(seen.length).toBe(1);
  });

  it('ends with its signal, during a tick and between ticks', async () => {
    const controller = new AbortController();
    const { seen, scaling } = watching((snapshot) => {
      if (snapshot.tick === 3) controller.abort(new Error('enough'));
      return later(snapshot);
    });
    await expect(replayTrace({ ...aggregated, scaling, signal: controller.signal })).rejects.toThrow('enough');
    const count = seen.length;
    await replayTrace(aggregated);
    expect([count, seen.length]).toEqual([4, 4]);
    const waiting = new AbortController();
    const never = watching(() => new Promise<never>(() => setImmediate(() => waiting.abort(new Error('late')))));
    await expect(replayTrace({ ...aggregated, scaling: never.scaling, signal: waiting.signal })).rejects.toThrow(
      'late',
    );
    await expect(replayTrace({ ...aggregated, signal: AbortSignal.abort(new Error('before')) })).rejects.toThrow(
      'before',
    );
  });
});

describe('a replay of a faulty trace', () => {
  const rows = (...lines: string[]): string => {
    const folder = mkdtempSync(join(tmpdir(), 'replay-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const path = join(folder, 'trace.jsonl');
    writeFileSync(path, lines.join('\n'));
    return path;
  };
  const row = '{"timestamp": 0, "input_length": 10, "output_length": 2, "hash_ids": [1]}';

  it('rejects it as an invalid request, with its line', async () => {
    const noHashes = rows(row, '{"timestamp": 0, "input_length": 10, "output_length": 2}');
    const invalid = { class: 'InvalidRequest', code: 'DYN_INVALID_REQUEST' };
    for (const mode of ['kv', 'round_robin'] as const)
      await expect(replayTrace({ ...aggregated, mode, trace: noHashes })).rejects.toMatchObject({
        ...invalid,
        message: `${noHashes}:2 hash_ids: expected an array of block hashes, got undefined`,
      });
    await expect(replayTrace({ ...aggregated, trace: `${noHashes}.gone` })).rejects.toMatchObject({
      ...invalid,
      reason: 'replay.no_trace',
    });
  });

  it('replays the same rows when they are complete', async () => {
    expect((await replayTrace({ ...aggregated, mode: 'kv', trace: rows(row, '', row) })).completed_requests).toBe(2);
  });
});

describe('a replay with a planner', { timeout: 120_000 }, () => {
  it('starts workers for the load of the trace, and says why', async () => {
    const decisions: Decision[] = [];
    const config = { sla: { ttftMs: 2000, itlMs: 50 }, maxGpus: 16, coldStartMs: 1000 * STARTUP_SECONDS };
    const sla = config.sla;
    const scaling = replayPlanner(config, { onDecision: (decision) => decisions.push(decision) });
    const [fixed, planned] = [
      await replayTrace({ ...aggregated, sla }),
      await replayTrace({ ...aggregated, sla, scaling }),
    ];
    expect(planned.completed_requests).toBe(planned.num_requests);
    expect(Math.max(...decisions.map(({ targets }) => targets.worker ?? 0))).toBeGreaterThan(2);
    expect(decisions.every(({ reasons }) => reasons.length > 0)).toBe(true);
    expect(planned.mean_ttft_ms).toBeLessThan(fixed.mean_ttft_ms);
  });

  it('scales prefill and decode apart, in mode kv', async () => {
    const decisions: Decision[] = [];
    const scaling = replayPlanner(
      { mode: 'disagg', sla: { ttftMs: 2000, itlMs: 50 }, maxGpus: 16 },
      { onDecision: (decision) => decisions.push(decision) },
    );
    const report = await replayTrace({ ...disaggregated, mode: 'kv', scaling });
    expect(report.completed_requests).toBe(report.num_requests);
    expect(Object.keys(decisions[0]?.targets ?? {}).sort()).toEqual(['decode', 'prefill']);
  });

  it('rejects a mode that does not fit the pool, and a faulty configuration', async () => {
    await expect(replayTrace({ ...aggregated, scaling: replayPlanner({ mode: 'disagg' }) })).rejects.toThrow(
      'replayPlanner config.mode: expected a mode for the workers of the replay, worker, got one for prefill',
    );
    expect(() => replayPlanner({ mode: 'x' as never })).toThrow(/config.mode: expected/);
    expect(() => replayPlanner({}, { onDecision: 1 as never })).toThrow(/options.onDecision: expected a function/);
  });
});
