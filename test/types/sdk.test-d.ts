import type { LLMEngineOutput, PreprocessedRequest, RequestContext, ResponseStream } from 'dynamo-node';
import {
  type ClientOf,
  defineService,
  depends,
  type EndpointCalls,
  endpoint,
  engineService,
  type Graph,
  graph,
  onStart,
  pythonService,
  type Service,
  type ServiceContext,
  type StreamClient,
  service,
  serviceContext,
  serviceInterface,
  type UnaryClient,
} from 'dynamo-node/sdk';
import { assertType, describe, expectTypeOf, it } from 'vitest';
import { z } from 'zod';

type MethodsOf<S> = S extends Service<infer Methods> ? Methods : never;

@service({ resources: { gpu: 1 } })
class Worker {
  @endpoint()
  async *generate(request: { readonly text: string }): AsyncGenerator<string> {
    yield request.text;
  }

  @endpoint()
  async count(text: string, _context: RequestContext): Promise<number> {
    return text.length;
  }

  size = 3;

  helper(): string {
    return 'no endpoint';
  }
}

@service()
class Other {
  @endpoint()
  async *embed(text: string) {
    yield text.length;
  }
}

describe('the client of a class', () => {
  type WorkerClient = ClientOf<Worker>;
  const client = {} as WorkerClient;

  it('has a call for each endpoint', () => {
    expectTypeOf<keyof WorkerClient>().toEqualTypeOf<'generate' | 'count'>();
    expectTypeOf<WorkerClient['generate']>().toEqualTypeOf<StreamClient<{ readonly text: string }, string>>();
    expectTypeOf<WorkerClient['count']>().toEqualTypeOf<UnaryClient<string, number>>();
    expectTypeOf<WorkerClient['generate']>().toExtend<EndpointCalls>();
  });

  it('takes the request and options, and returns a stream or a promise', () => {
    expectTypeOf(client.generate({ text: 'a' })).toEqualTypeOf<ResponseStream<string>>();
    expectTypeOf(client.count('a', { timeoutMs: 5, signal: AbortSignal.timeout(1) })).toEqualTypeOf<Promise<number>>();
    expectTypeOf(client.count.direct(1n, 'a')).toEqualTypeOf<Promise<number>>();
    // @ts-expect-error: a wrong request
    void client.generate({ texts: 'a' });
    // @ts-expect-error: a missing request
    void client.count();
    // @ts-expect-error: an instance id is a bigint
    void client.generate.direct(1, { text: 'a' });
    // @ts-expect-error: an endpoint that does not exist
    void client.generat;
    // @ts-expect-error: a method that cannot be an endpoint
    void client.helper;
    // @ts-expect-error: an unknown option
    void client.count('a', { timeout: 5 });
  });
});

describe('a decorated class', () => {
  it('rejects a field with the client of another service', () => {
    @service()
    class Caller {
      @depends(Worker) readonly right!: ClientOf<Worker>;
      @depends(() => Other) readonly later!: ClientOf<Other>;
      @depends(Other) readonly unlinked?: ClientOf<Other>;
      // @ts-expect-error: Worker has other endpoints than Other
      @depends(Worker) readonly wrongUnlinked?: ClientOf<Other>;
      // @ts-expect-error: Worker has other endpoints than Other
      @depends(Worker) readonly wrong!: ClientOf<Other>;
      // @ts-expect-error: a field holds the client, not the service
      @depends(Worker) readonly service!: Worker;
      // @ts-expect-error: an unknown mode
      @depends(Worker, { mode: 'best' }) readonly mode!: ClientOf<Worker>;
    }
    expectTypeOf<Caller['unlinked']>().toEqualTypeOf<ClientOf<Other> | undefined>();
    expectTypeOf<Caller['right']>().toEqualTypeOf<ClientOf<Worker>>();
  });

  it('rejects wrong options and methods', () => {
    // @ts-expect-error: an unknown role
    service({ role: 'boss' });
    // @ts-expect-error: a unit is part of a text
    service({ resources: { memory: 10 } });
    // @ts-expect-error: an unknown transport
    endpoint({ transports: ['grpc'] });

    const schema = z.object({ size: z.coerce.number() });
    @service()
    class Checked {
      @endpoint({ input: schema })
      async *right(request: { size: number }) {
        yield request.size;
      }
      // @ts-expect-error: the schema makes a number of the size
      @endpoint({ input: schema })
      async *wrong(request: { size: string }) {
        yield request.size;
      }
      @onStart()
      begin() {}
    }
    assertType<Graph>(graph('g', Checked));
  });

  it('rejects a class with arguments', () => {
    // @ts-expect-error: the host constructs it without arguments
    @service()
    class Needy {
      constructor(readonly size: number) {}
    }
    void Needy;
  });

  it('must have what its interface has', () => {
    @serviceInterface({ endpoints: ['generate'] })
    abstract class AnyWorker {
      abstract generate(text: string): AsyncIterable<string>;
    }
    @service({ implements: [AnyWorker] })
    // @ts-expect-error: generate is missing
    class Partial extends AnyWorker {}
    void Partial;
    expectTypeOf<ClientOf<AnyWorker>['generate']>().toEqualTypeOf<StreamClient<string, string>>();
  });

  it('reads its context', () => {
    expectTypeOf(serviceContext<{ size: number }>()).toEqualTypeOf<ServiceContext<{ size: number }>>();
    expectTypeOf(serviceContext().config).toEqualTypeOf<unknown>();
  });
});

describe('a built service', () => {
  const Built = defineService('Built', {
    deps: { worker: depends(Worker), other: depends(Other) },
    config: z.object({ size: z.number().default(3) }),
    setup: ({ config, deps }) => {
      expectTypeOf(config).toEqualTypeOf<{ size: number }>();
      expectTypeOf(deps.worker).toEqualTypeOf<ClientOf<Worker>>();
      return { cache: new Map<string, number>() };
    },
  })
    .endpoint('plain', async function* (text: string, { deps, config, state }, context) {
      expectTypeOf(deps.other.embed).toEqualTypeOf<StreamClient<string, number>>();
      expectTypeOf(config.size).toEqualTypeOf<number>();
      expectTypeOf(state.cache).toEqualTypeOf<Map<string, number>>();
      expectTypeOf(context).toEqualTypeOf<RequestContext>();
      yield text;
    })
    .endpoint('checked', { input: z.object({ size: z.string().transform(Number) }) }, async (request) => {
      expectTypeOf(request).toEqualTypeOf<{ size: number }>();
      return request.size;
    });

  type BuiltClient = ClientOf<MethodsOf<typeof Built>>;

  it('has a client by the types of its handlers and the input of its schemas', () => {
    expectTypeOf<BuiltClient['plain']>().toEqualTypeOf<StreamClient<string, string>>();
    expectTypeOf<BuiltClient['checked']>().toEqualTypeOf<UnaryClient<{ size: string }, number>>();
    defineService('Caller', { deps: { built: depends(Built) } }).endpoint('run', async (_: null, { deps }) => {
      expectTypeOf(deps.built).toEqualTypeOf<BuiltClient>();
      // @ts-expect-error: the schema takes text
      await deps.built.checked({ size: 3 });
      // @ts-expect-error: not among its dependencies
      void deps.worker;
    });
  });

  it('is the dependency of a field by its client', () => {
    @service()
    class Caller {
      @depends(Built) readonly built!: BuiltClient;
      // @ts-expect-error: the client of another service
      @depends(Built) readonly wrong!: ClientOf<Worker>;
    }
    void Caller;
  });

  it('rejects wrong options, dependencies and handlers', () => {
    // @ts-expect-error: a dependency is made by depends
    defineService('One', { deps: { worker: Worker } });
    // @ts-expect-error: the name is the first argument
    defineService('One', { name: 'Two' });
    defineService('One', { setup: () => 3 }).onStart(({ state }) => {
      expectTypeOf(state).toEqualTypeOf<number>();
      // @ts-expect-error: no other state
      void state.cache;
    });
    // @ts-expect-error: the handler takes other requests than the schema returns
    defineService('One').endpoint('run', { input: z.number() }, async (request: string) => request);
  });
});

describe('a graph', () => {
  it('accepts services and classes, and names of Python modules', () => {
    const Python = pythonService('Python', { module: 'dynamo.vllm', args: ['--model', 'm'] });
    expectTypeOf(graph('g', Worker).link(Worker, Other).with(Python).scale('1P2D')).toEqualTypeOf<Graph>();
    expectTypeOf<ClientOf<MethodsOf<typeof Python>>['generate']>().toEqualTypeOf<
      StreamClient<PreprocessedRequest, LLMEngineOutput>
    >();
    const Shouter = pythonService<{ shout(text: string): AsyncIterable<string> }>('Shouter', {
      module: 'shouter',
      endpoints: ['shout'],
    });
    expectTypeOf<ClientOf<MethodsOf<typeof Shouter>>['shout']>().toEqualTypeOf<StreamClient<string, string>>();
    // @ts-expect-error: a module is needed
    pythonService('Python', { args: [] });
    // @ts-expect-error: the methods have no such endpoint
    pythonService<{ shout(text: string): AsyncIterable<string> }>('Shouter', { module: 'm', endpoints: ['whisper'] });
    // @ts-expect-error: endpoints of Python answer with a stream
    pythonService<{ shout(text: string): Promise<string> }>('Shouter', { module: 'm' });
    engineService('Engine', ({ config }) => ({ engine: undefined as never, modelName: config.model }), {
      config: z.object({ model: z.string() }),
    });
    engineService(
      'Engine',
      // @ts-expect-error: the configuration has no such field
      ({ config }) => ({ engine: undefined as never, modelName: config.name }),
      { config: z.object({ model: z.string() }) },
    );
    // @ts-expect-error: an instance is no service
    graph('g', new Worker());
    // @ts-expect-error: a number is no count of workers by name
    graph('g', Worker).scale(3);
    // @ts-expect-error: an engine is needed
    engineService('Engine', () => ({ modelPath: './m' }));
  });
});
