import { describe, expect, it } from 'vitest';

import { DEFAULT_RESTARTS, restartDelayMs } from '../../../lib/deploy/local/restart-policy.js';
import { advance, NEW_WORKER, type WorkerEvent, type WorkerPolicy } from '../../../lib/deploy/local/worker-state.js';

const policy: WorkerPolicy = {
  restarts: { respawn: 'on-failure', maxCrashes: 3, minDelayMs: 10, maxDelayMs: 15, stableMs: 1000 },
  startTimeoutMs: 500,
  graceMs: 300,
};
const exited = (code: number | null, signal: NodeJS.Signals | null = null): WorkerEvent => ({
  type: 'exited',
  exit: { code, signal },
});
const drain: WorkerEvent = { type: 'drain', lingerMs: 0 };

/** The phases and the effects that events lead to, in short. */
function run(events: readonly WorkerEvent[], under = policy) {
  let state = NEW_WORKER;
  const steps: string[] = [];
  for (const event of events) {
    const { state: next, effects } = advance(state, event, under);
    state = next;
    const words = effects.map((effect) => (effect.type === 'timer' ? `timer ${effect.ms}` : effect.type));
    steps.push([`${state.phase}:`, ...words].join(' '));
  }
  return { state, steps };
}

describe('advance', () => {
  it('loads, starts, serves and drains a worker', () => {
    const { state, steps } = run([
      { type: 'prepare' },
      { type: 'start' },
      { type: 'ready', url: 'http://x' },
      drain,
      exited(0),
    ]);
    expect(steps).toEqual([
      'waiting: spawn',
      'starting: release timer 500',
      'ready: timer 1000',
      'draining: drain timer 300',
      'stopped:',
    ]);
    expect(state).toMatchObject({ crashes: 0, restarts: 0, wasReady: true, url: undefined });
  });

  it('starts the process of a worker that was not prepared', () => {
    expect(run([{ type: 'start' }]).steps).toEqual(['starting: spawn release timer 500']);
  });

  it('fails a worker whose first start ends with a code, with the reason that it reported', () => {
    const { state } = run([{ type: 'start' }, { type: 'failed', message: 'no such model' }, exited(1)]);
    expect(state).toMatchObject({ phase: 'failed', reason: 'no such model', hasProcess: false });
  });

  it('kills and fails a worker that is not ready in time', () => {
    const { state, steps } = run([{ type: 'start' }, { type: 'timer' }, exited(null, 'SIGKILL')]);
    expect(steps.slice(1)).toEqual(['starting: kill', 'failed:']);
    expect(state.reason).toBe('it was not ready within 500 ms');
  });

  it('starts a worker again whose first process was ended by a signal', () => {
    const { steps, state } = run([{ type: 'start' }, exited(null, 'SIGKILL'), { type: 'timer' }]);
    expect(steps.slice(1)).toEqual(['backing-off: timer 10', 'starting: spawn release timer 500']);
    expect(state).toMatchObject({ restarts: 1, reason: undefined });
  });

  it('waits longer after each crash, and fails after the last one', () => {
    const again: WorkerEvent[] = [{ type: 'timer' }, { type: 'ready' }, exited(3)];
    const { steps, state } = run([{ type: 'start' }, { type: 'ready' }, exited(3), ...again, ...again]);
    expect(steps.filter((step) => /^(backing|failed)/.test(step))).toEqual([
      'backing-off: timer 10',
      'backing-off: timer 15',
      'failed:',
    ]);
    expect(state).toMatchObject({ crashes: 3, restarts: 2, reason: 'its process ended with code 3' });
  });

  it('forgets the crashes of a worker that was ready for long enough', () => {
    const crash: WorkerEvent[] = [{ type: 'ready' }, { type: 'timer' }, exited(null, 'SIGSEGV'), { type: 'timer' }];
    const { state } = run([{ type: 'start' }, ...crash, ...crash, ...crash, { type: 'ready' }]);
    expect(state).toMatchObject({ phase: 'ready', crashes: 1, restarts: 3 });
  });

  it('fails a worker at its first crash under respawn never', () => {
    const never = { ...policy, restarts: { ...policy.restarts, respawn: 'never' as const } };
    expect(run([{ type: 'start' }, { type: 'ready' }, exited(0)], never).state.phase).toBe('failed');
  });

  it('kills a worker that does not drain in time', () => {
    expect(run([{ type: 'start' }, { type: 'ready' }, drain, { type: 'timer' }]).steps.at(-1)).toBe('draining: kill');
  });

  it.each<[string, WorkerEvent[]]>([
    ['that waits without a process', []],
    ['that waits for its restart', [{ type: 'start' }, { type: 'ready' }, exited(1)]],
  ])('stops a worker %s without a drain', (_, events) => {
    for (const end of [drain, { type: 'kill' } as const])
      expect(run([...events, end])).toMatchObject({ state: { phase: 'stopped' } });
  });

  it.each<[string, WorkerEvent]>([
    ['a start of a worker that has stopped', { type: 'start' }],
    ['a timer of a worker that has stopped', { type: 'timer' }],
    ['a drain of a worker that has stopped', drain],
    ['a kill of a worker that has stopped', { type: 'kill' }],
    ['a late exit', exited(1)],
    ['a late message', { type: 'ready' }],
  ])('ignores %s', (_, event) => {
    const { state } = run([drain]);
    expect(advance(state, event, policy)).toEqual({ state, effects: [] });
  });
});

describe('restartDelayMs', () => {
  it('doubles up to its limit, and ends at the last crash', () => {
    const delays = [1, 2, 3, 4, 5].map((crashes) => restartDelayMs(DEFAULT_RESTARTS, crashes));
    expect(delays).toEqual([500, 1000, 2000, 4000, undefined]);
    expect(restartDelayMs({ ...DEFAULT_RESTARTS, maxCrashes: 99 }, 20)).toBe(30_000);
  });
});
