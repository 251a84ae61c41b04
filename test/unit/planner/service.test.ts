import { type PlannerServiceOptions, plannerService } from 'dynamo-node/planner';
import {
  builtInService,
  defineService,
  frontendService,
  graph,
  pythonService,
  type ServiceLike,
} from 'dynamo-node/sdk';
import { describe, expect, it } from 'vitest';
import { scaled } from '../../../examples/planner/graph.js';
import { plannedPools } from '../../../lib/planner/service.js';

const echo = { kind: 'echo', modelName: 'echo' } as const;
const Frontend = frontendService('Frontend');
const Worker = builtInService('Worker', echo);
const Prefill = builtInService('Prefill', echo, { role: 'prefill', resources: { gpu: 2 } });
const Decode = pythonService('Decode', { module: 'dynamo.vllm' }, { role: 'decode', component: 'backend' });
const Planner = plannerService('Planner');
const Processor = defineService('Processor');

const pools = (services: readonly ServiceLike[], options: PlannerServiceOptions = {}) =>
  plannedPools(
    'Planner',
    graph('g', Frontend)
      .with(...services, Planner)
      .toJSON(),
    options,
  );

describe('plannerService', () => {
  it('is a service of role planner, of which a graph has one', () => {
    const spec = graph('g', Frontend).with(Worker, Planner).toJSON();
    expect(spec.services.find(({ name }) => name === 'Planner')).toMatchObject({
      ...{ role: 'planner', program: 'planner', endpoints: [], workers: 1 },
    });
    expect(() => graph('g', Frontend).with(Planner, plannerService('Other')).validate()).toThrow(
      'More than one planner',
    );
  });

  it.each<[string, PlannerServiceOptions | object, object, string]>([
    ['a faulty configuration', { config: { maxGpus: 0 } }, {}, 'plannerService P.config.maxGpus: expected an integer'],
    ['an unknown option', { speed: 1 }, {}, 'plannerService P.speed: unknown option'],
    ['no URL', { frontends: ['here'] }, {}, 'plannerService P.frontends[0]: expected a URL, got "here"'],
    ['a negative time', { drainMs: -1 }, {}, 'plannerService P.drainMs: expected an integer'],
    ['two workers', {}, { workers: 2 }, 'plannerService P.workers: expected at most 1, got 2'],
  ])('rejects %s', (_, planner, options, message) => {
    expect(() => plannerService('P', planner, options)).toThrow(message);
  });
});

describe('plannedPools', () => {
  it('returns the only engine of each role, and the mode that fits', () => {
    expect(pools([Worker, Processor])).toMatchObject({
      config: { mode: 'agg' },
      services: { worker: 'Worker' },
      endpoints: { worker: 'dynamo.worker.generate' },
    });
    expect(pools([Prefill, Decode])).toMatchObject({
      config: { mode: 'disagg', pools: { prefill: { gpusPerWorker: 2 }, decode: { gpusPerWorker: 1 } } },
      services: { prefill: 'Prefill', decode: 'Decode' },
      endpoints: { prefill: 'dynamo.prefill.generate', decode: 'dynamo.backend.generate' },
    });
    expect(pools([Prefill]).config.mode).toBe('prefill');
    expect(plannedPools('Planner', scaled.toJSON(), {}).services).toEqual({ worker: 'Worker' });
  });

  it('follows the options', () => {
    const options: PlannerServiceOptions = {
      config: { mode: 'decode', pools: { decode: { gpusPerWorker: 8, minWorkers: 2 } } },
      services: { decode: 'Worker' },
      endpoints: { decode: 'dynamo.mine.generate' },
    };
    expect(pools([Worker, Prefill], options)).toEqual({
      config: { mode: 'decode', pools: { decode: { gpusPerWorker: 8, minWorkers: 2 } } },
      services: { decode: 'Worker' },
      endpoints: { decode: 'dynamo.mine.generate' },
    });
  });

  it.each<[string, readonly ServiceLike[], PlannerServiceOptions, string]>([
    [
      'two engines of a role',
      [Worker, builtInService('Other', echo)],
      {},
      'Planner.services.worker: expected the name',
    ],
    ['no engine of a role', [Prefill], { config: { mode: 'disagg' } }, 'Planner.services.decode: expected the name'],
    ['an unknown service', [Worker], { services: { worker: 'Nobody' } }, 'got "Nobody"'],
  ])('rejects %s', (_, services, options, message) => {
    expect(() => pools(services, options)).toThrow(message);
  });
});
