import {
  type DecisionRecord,
  decide,
  decisionLine,
  initialState,
  type Observation,
  Planner,
  type PlannerConfig,
  type PlannerOptions,
  type Targets,
} from 'dynamo-node/planner';
import { describe, expect, it, onTestFinished } from 'vitest';
import { PROFILE, pool } from '../../helpers/planner/snapshots.js';
import { waitFor, within } from '../../helpers/wait.js';
import { warnings } from '../../helpers/warnings.js';

const CONFIG: PlannerConfig = { intervalMs: 100, maxGpus: 40, pools: { worker: { profile: PROFILE } } };

const traffic = (rate: number) => ({ durationMs: 100, requests: rate / 10, inputTokens: 1500, outputTokens: 200 });

/** A graph that scales at once, and a planner on it. */
function planned(more: Partial<PlannerOptions> = {}, rate = 100) {
  const counts = { desired: 1, ready: 1 };
  const scaled: Targets[] = [];
  const records: DecisionRecord[] = [];
  const planner = Planner.start({
    observer: { observe: () => ({ workers: { worker: pool(counts.ready).workers }, traffic: traffic(rate) }) },
    scaler: {
      current: () => ({ worker: { ...counts } }),
      scale: async (targets) => {
        scaled.push(targets);
        counts.desired = counts.ready = targets.worker ?? counts.desired;
      },
    },
    config: CONFIG,
    onDecision: (record) => records.push(record),
    ...more,
  });
  onTestFinished(() => planner.close());
  const decisions = (count: number) => waitFor(`${count} decisions`, () => records.length >= count);
  return { planner, counts, scaled, records, decisions };
}

describe('a planner', () => {
  it('scales to the load', async () => {
    const { counts, records, decisions } = planned();
    await waitFor('more workers', () => counts.ready > 3);
    const before = records.length;
    await decisions(before + 3);
    expect(records.map(({ outcome }) => outcome)).toContain('scaled');
    expect(records.at(-1)).toMatchObject({ outcome: 'unchanged', errors: [] });
  });

  it('decides but does not scale if it is advisory', async () => {
    const { scaled, records, decisions } = planned({ advisory: true });
    await decisions(5);
    expect(scaled).toEqual([]);
    expect(records.at(-1)?.outcome).toBe('advisory');
    expect(records.at(-1)?.targets.worker).toBeGreaterThan(3);
  });

  it('continues if the observer fails, and removes nothing', async () => {
    const observe = (): Observation => {
      throw new Error('no metrics here');
    };
    const { counts, records, decisions } = planned({ observer: { observe } });
    counts.desired = counts.ready = 7;
    await decisions(8);
    expect(counts.desired).toBe(7);
    expect(records.at(-1)?.errors).toEqual(['observe: no metrics here']);
  });

  it('continues if the observer returns something else', async () => {
    const { records, decisions } = planned({ observer: { observe: () => 'text' as never } });
    await decisions(2);
    expect(records[1]?.errors[0]).toContain('observation: expected an object');
  });

  it.each<[string, unknown]>([
    ['text in place of workers', { workers: { worker: 'x' } }],
    ['null in place of a worker', { workers: { worker: [null] } }],
    ['null in place of the traffic', { workers: { worker: [] }, traffic: null }],
    ['a worker without passes', { workers: { worker: [{ id: 'a' }] } }],
  ])('continues if the observer returns %s, and removes nothing', async (_what, observation) => {
    const { counts, records, decisions } = planned({ observer: { observe: () => observation as never } });
    counts.desired = counts.ready = 7;
    await decisions(4);
    expect(counts.desired).toBe(7);
    expect(records.map(({ errors }) => errors.length)).not.toContain(2);
  });

  it('continues with a new state if the state of its predecessor is of another shape', async () => {
    const { records, decisions } = planned({ state: {} as never });
    await decisions(3);
    expect(records[0]?.errors[0]).toContain('decide:');
    expect(records[2]?.errors).toEqual([]);
  });

  it.each([
    ['throws', () => Promise.reject(new Error('no counts')), 'current: no counts'],
    ['returns no counts', () => ({ worker: { desired: -1, ready: 0 } }), 'counts.worker.desired'],
  ])('decides nothing if the scaler %s', async (_, current, message) => {
    const { scaled, records, decisions } = planned({ scaler: { current, scale: async () => {} } });
    await decisions(3);
    expect(scaled).toEqual([]);
    expect(records[2]).toMatchObject({ targets: {}, outcome: 'unchanged' });
    expect(records[2]?.errors[0]).toContain(message);
  });

  it('tries again at the next decision if the scaler refuses', async () => {
    let calls = 0;
    const scale = async (): Promise<void> => {
      calls++;
      throw new Error('refused');
    };
    const { records } = planned({ scaler: { current: () => ({ worker: { desired: 1, ready: 1 } }), scale } });
    await waitFor('three calls', () => calls >= 3);
    expect(records.filter(({ outcome }) => outcome === 'failed').length).toBeGreaterThanOrEqual(2);
    expect(records.at(-1)?.errors).toEqual(['scale: refused']);
  });

  it('no longer waits for a scaler that hangs, and aborts its call', async () => {
    const signals: AbortSignal[] = [];
    const scale = (_: Targets, { signal }: { signal: AbortSignal }): Promise<void> => {
      signals.push(signal);
      return new Promise(() => {});
    };
    const { records } = planned({
      scaler: { current: () => ({ worker: { desired: 1, ready: 1 } }), scale },
      timeoutMs: 50,
    });
    await waitFor('two calls', () => signals.length >= 2);
    expect(signals[0]?.aborted).toBe(true);
    expect(records.flatMap(({ errors }) => errors)).toContain('scale: scale has not answered within 50 ms');
  });

  it('closes while a port hangs', async () => {
    const { planner } = planned({ observer: { observe: () => new Promise(() => {}) } });
    await within(5000, 'the close', planner.close());
    await planner.close();
  });

  it('makes no decision after its close', async () => {
    const { planner, records, decisions } = planned();
    await decisions(2);
    await planner.close();
    const before = records.length;
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(records.length).toBe(before);
  });

  it('continues with the state of its predecessor, as JSON of another clock', async () => {
    const first = planned();
    await waitFor('more workers', () => first.counts.ready > 3);
    await first.planner.close();
    const text = JSON.stringify(first.planner.state);
    const state = JSON.parse(text.replace(/"nowMs":[\d.]+/, '"nowMs":1e9'));
    const second = planned({ state });
    second.counts.desired = second.counts.ready = first.counts.ready;
    await second.decisions(4);
    expect(second.counts.desired).toBe(first.counts.ready);
    expect(second.records[0]?.reasons.map(({ code }) => code)).toContain('clock-jump');
  });

  it('continues if onDecision throws, and reports it once', async () => {
    const emitted = warnings('DYN_CALLBACK_FAILED');
    let calls = 0;
    planned({
      onDecision: () => {
        calls++;
        throw new Error('no disk');
      },
    });
    await waitFor('three calls', () => calls >= 3);
    const found = await waitFor(
      'the warning',
      () => emitted,
      (all) => all.length > 0,
    );
    expect(found).toHaveLength(1);
    expect(found[0]?.message).toContain('no disk');
  });

  it.each([
    ['no observer', { observer: undefined }, 'options.observer: expected an object'],
    ['a scaler without scale', { scaler: { current: () => ({}) } }, 'options.scaler.scale: expected a function'],
    ['an unknown option', { speed: 1 }, 'options.speed: unknown option'],
    ['a faulty configuration', { config: { maxGpus: 0 } }, 'options.config.maxGpus'],
    ['a negative timeout', { timeoutMs: -1 }, 'options.timeoutMs'],
  ])('rejects %s', (_, more, message) => {
    const options = {
      observer: { observe: () => ({ workers: {} }) },
      scaler: { current: () => ({}), scale: async () => {} },
    };
    expect(() => Planner.start({ ...options, ...more } as PlannerOptions)).toThrow(message);
  });
});

describe('decisionLine', () => {
  it('returns one line of JSON with sums, or with all inputs, from which the decision follows again', async () => {
    const { records, decisions } = planned({ advisory: true });
    await decisions(3);
    const [record] = records as [DecisionRecord];
    const short = JSON.parse(decisionLine(record));
    expect(decisionLine(record)).not.toContain('\n');
    expect(short).toMatchObject({
      schema: 'dynamo.planner.decision/v1',
      tick: 1,
      snapshot: { pools: { worker: { desired: 1, ready: 1, workersWithMetrics: 1 } }, traffic: traffic(100) },
    });
    const full = JSON.parse(decisionLine(record, true));
    const again = decide(full.snapshot, initialState(CONFIG, full.snapshot.nowMs), CONFIG);
    expect(again.targets).toEqual(full.targets);
  });
});
