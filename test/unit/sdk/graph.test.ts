import {
  defineService,
  depends,
  frontendService,
  type Graph,
  graph,
  pythonService,
  type Service,
} from 'dynamo-node/sdk';
import { describe, expect, it } from 'vitest';

import { Service as ServiceClass } from '../../../lib/sdk/service.js';

/** A service of one endpoint that depends on others by the names of its fields. */
const serving = (name: string, deps: Record<string, Service> = {}, options: object = {}) =>
  defineService(name, {
    deps: Object.fromEntries(Object.entries(deps).map(([field, service]) => [field, depends(service)])),
    ...options,
  }).endpoint('generate', async function* () {});

/** An interface without a class. */
const abstract = (name: string, interfaces: readonly Service[] = []) =>
  new ServiceClass(name, { name }, { program: { kind: 'abstract' }, interfaces });

const namesOf = (one: Graph) => one.services.map(({ name }) => name);
const edgesOf = (one: Graph, from: Service) =>
  one.dependenciesOf(from).map(({ property, to }) => `${property}: ${to.name}`);

const fault = (reason: string, message: string) =>
  expect.objectContaining({ name: 'GraphError', code: 'DYN_BAD_GRAPH', reason: `graph.${reason}`, message });

const Prefill = serving('Prefill', {}, { role: 'prefill' });
const Decode = serving('Decode', { prefill: Prefill }, { role: 'decode' });
const Processor = serving('Processor', { worker: Decode });
const Frontend = serving('Frontend', { processor: Processor, extra: Prefill });

describe('a graph', () => {
  it('has all that its entry depends on, dependencies first', () => {
    const one = graph('g', Frontend);
    expect(one.name).toBe('g');
    expect(one.entry).toBe(Frontend);
    expect(namesOf(one)).toEqual(['Prefill', 'Decode', 'Processor', 'Frontend']);
    expect(edgesOf(one, Frontend)).toEqual(['processor: Processor', 'extra: Prefill']);
  });

  it('has services beside the entry', () => {
    const Worker = pythonService('Vllm', { module: 'dynamo.vllm' });
    expect(namesOf(graph('g', frontendService('Front')).with(Worker, Decode))).toEqual([
      'Vllm',
      'Prefill',
      'Decode',
      'Front',
    ]);
  });

  it('is a value: each method leaves it as it is', () => {
    const one = graph('g', Frontend);
    const linked = one.link(Frontend, Processor);
    const scaled = one.scale({ Decode: 4 });
    const wider = one.with(serving('Other'));
    expect(namesOf(one)).toEqual(['Prefill', 'Decode', 'Processor', 'Frontend']);
    expect(namesOf(linked)).toEqual(['Processor', 'Frontend']);
    expect(namesOf(wider)).toContain('Other');
    const workersOf = (of: Graph) => of.toJSON().services.find(({ name }) => name === 'Decode')?.workers;
    expect([workersOf(one), workersOf(scaled)]).toEqual([1, 4]);
  });

  it('finds a service by its name, and lists the names if it has none', () => {
    expect(graph('g', Frontend).service('Decode')).toBe(Decode);
    expect(() => graph('g', Frontend).service('decode')).toThrow(
      fault(
        'unknown_service',
        "graph g has no service 'decode'; its services are Prefill, Decode, Processor, Frontend",
      ),
    );
  });

  it.each([
    ['', '""'],
    ['../up', '"../up"'],
    ['my graph', '"my graph"'],
    [7, '7'],
  ])('rejects the name %j with TypeError', (name, shown) => {
    expect(() => graph(name as string, Frontend)).toThrow(
      `graph name: expected letters, digits and hyphens, at most 63, no hyphen at an end, got ${shown}`,
    );
  });

  it('rejects an entry that is no service with TypeError', () => {
    expect(() => graph('g', class Plain {})).toThrow(
      'graph entry: expected a service, or a class with @service, got a function',
    );
    expect(() => graph('g', Frontend).with(undefined as never)).toThrow('with service 0: expected a service');
    expect(() => graph('g', Frontend).link(Frontend, {} as never)).toThrow('link to: expected a service');
  });
});

describe('a link', () => {
  it('keeps only the linked dependencies of the services that it names', () => {
    const one = graph('g', Frontend).chain(Frontend, Processor, Decode);
    expect(namesOf(one)).toEqual(['Decode', 'Processor', 'Frontend']);
    expect(edgesOf(one, Frontend)).toEqual(['processor: Processor']);
    expect(edgesOf(one, Decode)).toEqual([]);
  });

  it('keeps all dependencies of services that no link names', () => {
    const Other = serving('Other', { prefill: Prefill });
    const one = graph('g', Frontend).chain(Frontend, Processor).with(Other);
    expect(edgesOf(one, Other)).toEqual(['prefill: Prefill']);
  });

  it('puts an implementation in the place of an abstract service', () => {
    const Any = abstract('AnyWorker');
    const Fast = serving('Fast', {}, { implements: [Any] });
    const Caller = serving('Caller', { worker: Any });
    const one = graph('g', Caller).link(Caller, Fast);
    expect(edgesOf(one, Caller)).toEqual(['worker: Fast']);
    expect(one.toJSON().services.map(({ name }) => name)).toEqual(['Fast', 'Caller']);
  });

  it('puts an implementation in the place of an interface of its interface', () => {
    const Top = abstract('Top');
    const Fast = serving('Fast', {}, { implements: [abstract('Middle', [Top])] });
    const Caller = serving('Caller', { worker: Top });
    expect(edgesOf(graph('g', Caller).link(Caller, Fast), Caller)).toEqual(['worker: Fast']);
  });

  it('prefers the dependency that is the service itself', () => {
    const Any = abstract('AnyWorker');
    const Fast = serving('Fast', {}, { implements: [Any] });
    const Caller = serving('Caller', { any: Any, fast: Fast });
    expect(edgesOf(graph('g', Caller).link(Caller, Fast), Caller)).toEqual(['fast: Fast']);
  });

  it('rejects a service that fulfils no dependency', () => {
    expect(() => graph('g', Frontend).link(Frontend, Decode).validate()).toThrow(
      fault('link_no_match', 'Decode does not fulfill any dependencies required by Frontend'),
    );
  });

  it('rejects a service that fulfils several dependencies', () => {
    const Any = abstract('AnyWorker');
    const Fast = serving('Fast', {}, { implements: [Any] });
    const Caller = serving('Caller', { first: Any, second: Any });
    expect(() => graph('g', Caller).link(Caller, Fast).validate()).toThrow(
      fault('link_ambiguous', 'Fast fulfills multiple dependencies required by Caller: [first, second]'),
    );
  });

  it('rejects links of one dependency to two services, and takes equal links for one', () => {
    const Any = abstract('AnyWorker');
    const Fast = serving('Fast', {}, { implements: [Any] });
    const Slow = serving('Slow', {}, { implements: [Any] });
    const Caller = serving('Caller', { worker: Any });
    expect(() => graph('g', Caller).link(Caller, Fast).link(Caller, Slow).validate()).toThrow(
      fault('link_twice', 'Caller has links of its dependency worker to Fast and to Slow'),
    );
    expect(edgesOf(graph('g', Caller).link(Caller, Fast).link(Caller, Fast), Caller)).toEqual(['worker: Fast']);
  });

  it('rejects services that the entry does not reach', () => {
    expect(() => graph('g', Prefill).link(Frontend, Processor).validate()).toThrow(
      fault('unreached', 'graph g: a link names Frontend, which is not reached'),
    );
  });
});

describe('the checks of a graph', () => {
  it('reject an abstract service that no link replaces', () => {
    const Caller = serving('Caller', { worker: abstract('AnyWorker') });
    expect(() => graph('g', Caller).validate()).toThrow(
      fault(
        'not_servable',
        'Service AnyWorker is not servable. Please use link to override with a concrete implementation.',
      ),
    );
  });

  it('reject an implementation that lacks an endpoint of its interface', () => {
    const [endpoint] = serving('Shape').endpoints;
    const Any = new ServiceClass('Any', { name: 'Any' }, { program: { kind: 'abstract' }, endpoints: [endpoint!] });
    const Empty = defineService('Empty', { implements: [Any] });
    expect(() => graph('g', Empty).validate()).toThrow(
      fault('interface', 'graph g: Empty violates Dynamo interface - missing implementation(s): generate'),
    );
  });

  it('reject a circle unless it is allowed', () => {
    const Ping: Service = defineService('Ping', { deps: { pong: depends((): Service => Pong) } });
    const Pong: Service = defineService('Pong', { deps: { ping: depends(() => Ping) } });
    expect(() => graph('g', Ping).validate()).toThrow(
      fault('cycle', 'graph g: services depend on one another in a circle: Ping -> Pong -> Ping'),
    );
    const allowed = graph('g', Ping, { allowCycles: true });
    expect(namesOf(allowed)).toEqual(['Pong', 'Ping']);
    expect(edgesOf(allowed, Pong)).toEqual(['ping: Ping']);
  });

  it('reject names that differ only in their case', () => {
    expect(() => graph('g', serving('Worker')).with(serving('worker')).validate()).toThrow(
      fault('same_name', 'graph g: expected different names of services, got worker and Worker'),
    );
  });

  it('reject a second planner', () => {
    const planner = (name: string) => serving(name, {}, { role: 'planner' });
    expect(() => graph('g', planner('One')).with(planner('Two')).validate()).toThrow(
      fault('planners', 'graph g: More than one planner found in the pipeline: Two, One'),
    );
  });

  it('reject a second namespace unless it is allowed', () => {
    const Far = serving('Far', {}, { namespace: 'staging' });
    expect(() => graph('g', Prefill).with(Far).validate()).toThrow(
      fault('namespaces', 'graph g: All components must have the same namespace, got dynamo, staging'),
    );
    expect(namesOf(graph('g', Prefill, { mixedNamespaces: true }).with(Far))).toEqual(['Far', 'Prefill']);
  });

  it('accept 25 services and reject 26', () => {
    const services = Array.from({ length: 25 }, (_, index) => serving(`Worker${index}`));
    expect(graph('g', services[0]!).with(...services).services).toHaveLength(25);
    expect(() =>
      graph('g', services[0]!)
        .with(...services, serving('Another'))
        .validate(),
    ).toThrow(fault('too_many_services', 'graph g: expected at most 25 services, got 26'));
  });

  it('reject unknown options with TypeError', () => {
    expect(() => graph('g', Frontend, { cycles: true } as never)).toThrow('graph options.cycles: unknown option');
  });
});

describe('scale', () => {
  const workersOf = (one: Graph) =>
    Object.fromEntries(one.toJSON().services.map(({ name, workers }) => [name, workers]));

  it('sets numbers of workers by name, and the last one wins', () => {
    const one = graph('g', Frontend).scale({ Prefill: 2, Decode: 3 }).scale({ Decode: 0 });
    expect(workersOf(one)).toEqual({ Prefill: 2, Decode: 0, Processor: 1, Frontend: 1 });
  });

  it('sets the numbers of prefill and decode workers as 3P2D', () => {
    expect(workersOf(graph('g', Frontend).scale('3P2D'))).toMatchObject({ Prefill: 3, Decode: 2 });
  });

  it('rejects what the graph does not have', () => {
    expect(() => graph('g', Frontend).scale({ Router: 1 })).toThrow(
      expect.objectContaining({ reason: 'graph.unknown_service' }),
    );
    expect(() => graph('g', Processor).chain(Processor, Decode).scale('3P2D')).toThrow(
      fault('no_role', 'graph g has no service of role prefill'),
    );
  });

  it.each([[-1], [0.5], ['2'], [Number.NaN]])('rejects %j workers with TypeError', (count) => {
    expect(() => graph('g', Frontend).scale({ Decode: count as number })).toThrow(
      'scale Decode: expected a number of workers, got',
    );
  });
});

describe('the diagram of a graph', () => {
  it('has a node for each service and an arrow for each dependency', () => {
    const Side = serving('Side-Car');
    expect(graph('g', Frontend).chain(Frontend, Processor).with(Side).toMermaid()).toBe(
      [
        'graph LR',
        '  Frontend([Frontend])',
        '  Processor[Processor]',
        '  Side_Car[Side-Car]',
        '  Frontend --> Processor',
        '',
      ].join('\n'),
    );
  });
});
