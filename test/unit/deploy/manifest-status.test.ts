import { describe, expect, it } from 'vitest';

import { manifestOf } from '../../../lib/deploy/kubernetes/manifest.js';
import { type LiveDeployment, readinessOf, withLiveReplicas } from '../../../lib/deploy/kubernetes/status.js';
import { GRAPHS } from '../../helpers/deploy/graphs.js';

const OPTIONS = { name: 'g', image: 'registry.example/g:1', runtimeVersion: '1.6.1' };

const live = (status: LiveDeployment['status'], generation = 2): LiveDeployment => {
  const manifest = manifestOf(GRAPHS.aggregated, OPTIONS);
  return { ...manifest, metadata: { ...manifest.metadata, generation }, ...(status === undefined ? {} : { status }) };
};

const ready = (status: string, message?: string) => [
  { type: 'Available', status: 'True' },
  { type: 'Ready', status, reason: 'insufficient_capacity', ...(message === undefined ? {} : { message }) },
];

describe('the readiness of a deployment', () => {
  it.each<[string, LiveDeployment['status'], string, string]>([
    ['has no status', undefined, 'waiting', 'Frontend 0/1, Worker 0/2 (the operator has not seen it yet)'],
    [
      'has the status of an older generation',
      { observedGeneration: 1, conditions: ready('True') },
      'waiting',
      'Frontend 0/1, Worker 0/2 (the operator has not seen it yet)',
    ],
    [
      'is not ready, with the reason',
      { observedGeneration: 2, conditions: ready('False', 'no GPU'), components: { Worker: { readyReplicas: 1 } } },
      'waiting',
      'Frontend 0/1, Worker 1/2 (insufficient_capacity: no GPU)',
    ],
    [
      'was scaled by another program',
      { observedGeneration: 2, conditions: ready('True'), components: { Worker: { replicas: 5, readyReplicas: 5 } } },
      'ready',
      'Frontend 0/1, Worker 5/5',
    ],
    ['has failed', { observedGeneration: 2, state: 'failed' }, 'failed', 'Frontend 0/1, Worker 0/2'],
    ['failed before it was changed', { observedGeneration: 1, state: 'failed' }, 'waiting', expect.any(String)],
    ['has no condition Ready', { observedGeneration: 3, conditions: [] }, 'waiting', 'Frontend 0/1, Worker 0/2'],
  ])('of one that %s', (_, status, phase, summary) => {
    expect(readinessOf(live(status))).toEqual({ phase, summary });
  });
});

describe('a deployment over a live one', () => {
  it('keeps numbers of pods that a scaling adapter owns, and only those', () => {
    const wanted = manifestOf(GRAPHS.planned, { ...OPTIONS, scaled: ['Prefill'] });
    const { components } = wanted.spec;
    const existing = components.map(({ scalingAdapter: _, ...one }) => ({
      ...one,
      replicas: 9,
      ...(one.name === 'Decode' ? { scalingAdapter: {} } : {}),
    }));
    const merged = withLiveReplicas(wanted, { ...wanted, spec: { components: existing } });
    expect(merged.spec.components.map(({ name, replicas }) => [name, replicas])).toEqual([
      ['Frontend', 1],
      ['Planner', 1],
      ['Decode', 9],
      ['Prefill', 9],
    ]);
  });

  it('sets the numbers of components that are new', () => {
    const wanted = manifestOf(GRAPHS.planned, OPTIONS);
    expect(withLiveReplicas(wanted, { ...wanted, spec: { components: [] } })).toEqual(wanted);
  });
});
