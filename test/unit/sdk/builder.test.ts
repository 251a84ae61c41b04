import {
  builtInService,
  defineService,
  depends,
  engineService,
  frontendService,
  graph,
  pythonService,
} from 'dynamo-node/sdk';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';

import { contextOf, selfOf } from '../../helpers/sdk/context.js';

describe('a built service', () => {
  const Worker = defineService('Worker').endpoint('generate', async function* (text: string) {
    yield text;
  });

  it('is a value: each call leaves the service that it is called on as it is', () => {
    const one = defineService('One');
    const two = one.endpoint('a', async () => 1);
    const three = two.endpoint('b', async function* () {}).onStart(() => {});
    expect([one, two, three].map(({ endpoints }) => endpoints.map(({ name }) => name))).toEqual([
      [],
      ['a'],
      ['a', 'b'],
    ]);
    expect([two.hooks.length, three.hooks.length]).toEqual([0, 1]);
    expect(three.endpoints.map(({ stream }) => stream)).toEqual([false, true]);
  });

  it('has hooks of all kinds in the order of the calls', () => {
    const one = defineService('One')
      .onStart(function open() {})
      .onShutdown(function end() {})
      .liveness(() => true)
      .readiness(() => true)
      .onStart(function warm() {});
    expect(one.hooks.map(({ kind, name }) => [kind, name])).toEqual([
      ['start', 'open'],
      ['shutdown', 'end'],
      ['liveness', ''],
      ['readiness', ''],
      ['start', 'warm'],
    ]);
  });

  it('passes clients, configuration and state to its functions', async () => {
    const seen: unknown[] = [];
    const One = defineService('One', {
      deps: { worker: depends(Worker) },
      config: z.object({ size: z.number() }),
      setup: async ({ config, deps }) => ({ double: config.size * 2, deps }),
    })
      .endpoint('run', async (request: string, { state, deps, config }) => [request, state.double, deps, config.size])
      .onStart(({ state }) => seen.push(state.double));
    const clients = { worker: 'the client' };
    const self = await selfOf(One, contextOf({ config: { size: 4 }, clients }));
    expect(await One.endpoints[0]!.call(self, 'in', contextOf(), undefined as never)).toEqual(['in', 8, clients, 4]);
    One.hooks[0]!.call(self, contextOf());
    expect(seen).toEqual([8]);
  });

  it('makes its state once per worker', async () => {
    let made = 0;
    const One = defineService('One', { setup: () => ++made });
    await Promise.all([selfOf(One, contextOf({ worker: 0 })), selfOf(One, contextOf({ worker: 1 }))]);
    expect(made).toBe(2);
  });

  it('depends on the services of its deps', () => {
    const One = defineService('One', { deps: { worker: depends(Worker) } });
    expect(graph('g', One).services).toEqual([Worker, One]);
  });

  it.each<[string, () => unknown, string]>([
    ['a wrong option', () => defineService('One', { worker: 1 } as never), 'defineService One.worker: unknown option'],
    ['a wrong name', () => defineService('one_two'), 'defineService one_two.name: expected letters'],
    [
      'a dependency that is none',
      () => defineService('One', { deps: { worker: Worker as never } }),
      'defineService One options.deps.worker: expected what depends() returns, got an object of ServiceBuilder',
    ],
    ['a setup that is none', () => defineService('One', { setup: 1 as never }), 'options.setup: expected a function'],
    [
      'an interface that is none',
      () => defineService('One', { implements: [1 as never] }),
      'defineService One options.implements: expected a service, or a class with @service, got 1',
    ],
    [
      'a missing handler',
      () => defineService('One').endpoint('run', {}, undefined as never),
      'defineService One.endpoint run: expected a function, got undefined',
    ],
    [
      'a wrong option of an endpoint',
      () => defineService('One').endpoint('run', { concurrency: 0 }, async () => 1),
      'defineService One.endpoint run.concurrency: expected an integer from 1',
    ],
    [
      'one endpoint twice',
      () =>
        defineService('One')
          .endpoint('run', async () => 1)
          .endpoint('run', async () => 2),
      "defineService One: expected endpoints with different names, got two named 'run'",
    ],
    [
      'a hook that is none',
      () => defineService('One').onStart(1 as never),
      'defineService One start hook: expected a f',
    ],
  ])('rejects %s', (_, make, message) => {
    expect(make).toThrow(message);
  });
});

describe('services of other programs', () => {
  it('have their kind and role', () => {
    const kinds = [
      frontendService('A', { port: 0 }),
      engineService('B', () => ({ engine: undefined as never })),
      builtInService('C', { kind: 'echo', modelPath: './m' } as never),
      pythonService('D', { module: 'dynamo.vllm' }, { role: 'prefill', resources: { gpu: 1 } }),
    ].map(({ name, role, program }) => [name, role, program.kind]);
    expect(kinds).toEqual([
      ['A', 'frontend', 'frontend'],
      ['B', 'worker', 'engine'],
      ['C', 'worker', 'builtIn'],
      ['D', 'prefill', 'python'],
    ]);
  });

  it('have the endpoints and dependencies that a program of Python declares', () => {
    const Words = defineService('Words').endpoint('split', async (text: string) => text.split(' '));
    interface Shouting {
      shoutAll(text: string): AsyncIterable<string>;
    }
    const Shouter = pythonService<Shouting>('Shouter', {
      module: 'shouter',
      endpoints: ['shoutAll'],
      deps: { words: depends(Words) },
    });
    const { services } = graph('loud', Shouter).toJSON();
    expect(services.map(({ name, endpoints, dependencies }) => [name, endpoints, dependencies])).toEqual([
      ['Words', [expect.objectContaining({ name: 'split' })], []],
      [
        'Shouter',
        [{ name: 'shout_all', stream: true, transports: ['dynamo'] }],
        [{ property: 'words', service: 'Words', mode: 'round_robin' }],
      ],
    ]);
  });

  it('call a function for their options in the worker', async () => {
    const config = z.object({ port: z.number() });
    const { program } = frontendService('A', ({ config }) => ({ port: config.port }), { config });
    if (program.kind !== 'frontend') throw new Error('expected a frontend');
    expect(await program.create(contextOf({ config: { port: 8123 } }))).toEqual({ port: 8123 });
  });

  it.each<[string, () => unknown, string]>([
    ['no module', () => pythonService('P', {} as never), 'pythonService P.module: expected a string, got undefined'],
    [
      'arguments that are no text',
      () => pythonService('P', { module: 'm', args: [1 as never] }),
      'args[0]: expected a s',
    ],
    [
      'a dependency that is none',
      () => pythonService('P', { module: 'm', deps: { words: {} as never } }),
      'pythonService P.deps.words: expected what depends() returns, got an object',
    ],
    [
      'a wrong name of an endpoint',
      () => pythonService<Record<'a.b', () => AsyncIterable<string>>>('P', { module: 'm', endpoints: ['a.b'] }),
      'pythonService P.a.b.name: expected ',
    ],
    ['an engine that is no function', () => engineService('E', {} as never), 'engineService E: expected a function'],
    ['a wrong name', () => frontendService('a.b'), 'frontendService a.b.name: expected letters'],
  ])('reject %s with TypeError', (_, make, message) => {
    expect(make).toThrow(message);
  });
});
