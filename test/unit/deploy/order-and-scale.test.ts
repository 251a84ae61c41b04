import { describe, expect, it } from 'vitest';

import { checkScaleWords, parseScale, scaleChange } from '../../../lib/deploy/local/scale-plan.js';
import { drainGroups, startGroups } from '../../../lib/deploy/local/start-order.js';
import { specWith } from '../../helpers/deploy/spec.js';

describe('startGroups', () => {
  it('starts what a service depends on first, and the entry last', () => {
    const spec = specWith({ Front: ['Router', 'Engine'], Router: ['Engine'], Engine: [], Beside: [] }, 'Front');
    expect(startGroups(spec)).toEqual([['Engine', 'Beside'], ['Router'], ['Front']]);
    expect(drainGroups(spec)).toEqual([['Front'], ['Router'], ['Engine', 'Beside']]);
  });

  it('puts services that depend on one another in one group', () => {
    expect(startGroups(specWith({ Front: ['A'], A: ['B'], B: ['A'] }, 'Front'))).toEqual([['A', 'B'], ['Front']]);
  });

  it('leaves out an entry that is served elsewhere', () => {
    const { services, ...rest } = specWith({ Front: ['A'], A: ['B'], B: [] }, 'Front');
    expect(startGroups({ ...rest, services: services.filter(({ name }) => name === 'A') })).toEqual([['A']]);
  });
});

describe('parseScale', () => {
  const spec = specWith({ Front: ['Engine'], Engine: [] }, 'Front');
  const roles = {
    ...spec,
    services: spec.services.map((one, index) => ({ ...one, role: (['prefill', 'decode'] as const)[index]! })),
  };

  it('returns numbers of workers by service', () => {
    expect([...parseScale(spec, ['Engine=3', 'Front=0'])]).toEqual([
      ['Engine', 3],
      ['Front', 0],
    ]);
  });

  it('returns the services of the roles of xPyD', () => {
    expect([...parseScale(roles, ['3P2D'])]).toEqual([
      ['Front', 3],
      ['Engine', 2],
    ]);
  });

  it.each([
    ['3P2D', 'graph test has no service of role prefill'],
    ['Other=1', "graph test has no service 'Other'; its services are Front, Engine"],
    ['Engine', "'Engine': expected SERVICE=COUNT or a text like '3P2D'"],
    ['Engine=-1', "'Engine=-1': expected SERVICE=COUNT or a text like '3P2D'"],
    ['Engine=1025', 'Engine: expected at most 1024 workers, got 1025'],
  ])('rejects %s', (word, message) => {
    expect(() => parseScale(spec, [word])).toThrow(expect.objectContaining({ code: 'E_SCALE', exitCode: 64, message }));
  });

  it('rejects nothing', () => {
    expect(() => parseScale(spec, [])).toThrow('got nothing');
  });

  it.each(['Engine', '3P', 'Engine=1025', '2000P1D'])('rejects the form of %s before the graph is known', (word) => {
    expect(() => checkScaleWords([word])).toThrow(expect.objectContaining({ code: 'E_SCALE', exitCode: 64 }));
    expect(() => checkScaleWords(['Engine=3', '3P2D'])).not.toThrow();
  });
});

describe('scaleChange', () => {
  it.each([
    [[0], 3, { add: [1, 2], remove: [] }],
    [[0, 1, 2, 3], 1, { add: [], remove: [1, 2, 3] }],
    [[0, 2], 3, { add: [1], remove: [] }],
    [[5, 1], 1, { add: [], remove: [5] }],
    [[0, 1], 2, { add: [], remove: [] }],
    [[0], 0, { add: [], remove: [0] }],
  ])('changes the workers %j to %i', (numbers, count, expected) => {
    const present = numbers.map((number) => ({ number, phase: 'ready' as const }));
    expect(scaleChange(present, count)).toEqual(expected);
  });

  it('removes workers that do not serve yet before those that do', () => {
    const present = [
      { number: 0, phase: 'ready' },
      { number: 1, phase: 'starting' },
      { number: 2, phase: 'ready' },
    ] as const;
    expect(scaleChange(present, 2)).toEqual({ add: [], remove: [1] });
    expect(scaleChange(present, 1)).toEqual({ add: [], remove: [2, 1] });
  });

  it('does not count a worker that drains, and leaves it its number', () => {
    const present = [
      { number: 0, phase: 'ready' },
      { number: 1, phase: 'draining' },
    ] as const;
    expect(scaleChange(present, 2)).toEqual({ add: [2], remove: [] });
    expect(scaleChange(present, 1)).toEqual({ add: [], remove: [] });
  });
});
