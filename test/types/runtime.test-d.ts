import {
  Annotated,
  type CancelKind,
  type Client,
  type ClientOptions,
  type Component,
  type Counter,
  currentRequest,
  DistributedRuntime,
  type Endpoint,
  type Event,
  type Handler,
  type HandlerResult,
  type Instance,
  type InstanceChange,
  type Namespace,
  type RequestContext,
  type RequestOptions,
  type ResponseStream,
  type RuntimeOptions,
  type ServedEndpoint,
  type ServeOptions,
  startLog,
  versions,
} from 'dynamo-node';
import { assertType, describe, expectTypeOf, it } from 'vitest';

interface Ask {
  readonly text: string;
}

declare const runtime: DistributedRuntime;
declare const endpoint: Endpoint<Ask, number>;
declare const client: Client<Ask, number>;

describe('an endpoint', () => {
  it('passes the types of its request and response to client and handler', () => {
    expectTypeOf(runtime.endpoint<Ask, number>('a.b.c')).toEqualTypeOf<Endpoint<Ask, number>>();
    expectTypeOf(runtime.endpoint('a.b.c')).toEqualTypeOf<Endpoint<unknown, unknown>>();
    expectTypeOf(runtime.namespace('a')).toEqualTypeOf<Namespace>();
    expectTypeOf(runtime.namespace('a').component('b')).toEqualTypeOf<Component>();
    expectTypeOf(runtime.namespace('a').component('b').endpoint<Ask, number>('c')).toEqualTypeOf<
      Endpoint<Ask, number>
    >();
    expectTypeOf(endpoint.client).returns.resolves.toEqualTypeOf<Client<Ask, number>>();
    expectTypeOf(endpoint.serve).returns.resolves.toEqualTypeOf<ServedEndpoint>();
  });

  it('is served by generators, values and promises, of items or annotated items', () => {
    void endpoint.serve(async function* (request, context) {
      expectTypeOf(request).toEqualTypeOf<Ask>();
      expectTypeOf(context).toEqualTypeOf<RequestContext>();
      yield 1;
      yield new Annotated({ data: 2, comments: ['two'] });
    });
    void endpoint.serve(function* () {
      yield 1;
    });
    void endpoint.serve(() => 1);
    void endpoint.serve(async ({ text }) => text.length);
    expectTypeOf<Handler<Ask, number>>().returns.toEqualTypeOf<HandlerResult<number>>();
  });

  it('rejects a handler of other types, and unknown options', () => {
    // @ts-expect-error: items are numbers
    void endpoint.serve(async function* () {
      yield 'one';
    });
    // @ts-expect-error: the answer is a number
    void endpoint.serve(async () => 'one');
    // @ts-expect-error: the request has no such field
    void endpoint.serve(({ words }) => words);
    // @ts-expect-error: no handler
    void endpoint.serve();
    // @ts-expect-error: an unknown option
    void endpoint.serve(() => 1, { concurency: 4 });
    // @ts-expect-error: a number
    void endpoint.serve(() => 1, { concurrency: '4' });
    expectTypeOf<ServeOptions>().toHaveProperty('maxItemBytes').toEqualTypeOf<number | undefined>();
  });

  it('accepts streams of requests if it is bidirectional', () => {
    void endpoint.serveBidirectional(async function* (requests) {
      for await (const request of requests) {
        expectTypeOf(request).toEqualTypeOf<Ask>();
        yield request.text.length;
      }
    });
  });
});

describe('a client', () => {
  it('returns responses of its type, as a stream, a list or one', () => {
    expectTypeOf(client.generate({ text: 'a' })).toEqualTypeOf<ResponseStream<number>>();
    expectTypeOf(client.generateAnnotated({ text: 'a' })).toEqualTypeOf<ResponseStream<Annotated<number>>>();
    expectTypeOf(client.unary({ text: 'a' })).resolves.toBeNumber();
    expectTypeOf(client.collect({ text: 'a' })).resolves.toEqualTypeOf<number[]>();
    expectTypeOf(client.generate({ text: 'a' })).toExtend<AsyncIterable<number>>();
  });

  it('accepts the requests of a bidirectional call from any iterable', () => {
    expectTypeOf(client.bidirectional([{ text: 'a' }])).toEqualTypeOf<ResponseStream<number>>();
    expectTypeOf(client.bidirectional((async function* () {})())).toEqualTypeOf<ResponseStream<number>>();
  });

  it('rejects a request of another type', () => {
    // @ts-expect-error: a field is missing
    client.generate({});
    // @ts-expect-error: a string
    void client.unary({ text: 1 });
    // @ts-expect-error: streams are for bidirectional calls
    void client.collect((async function* () {})());
  });

  it('accepts only known modes and options', () => {
    assertType<ClientOptions>({ mode: 'power_of_two_choices' });
    // @ts-expect-error: the crates' names have underscores
    void endpoint.client({ mode: 'round-robin' });
    assertType<RequestOptions>({
      signal: AbortSignal.timeout(1),
      timeoutMs: 1,
      attempts: 2,
      metadata: { a: 'b' },
      parent: null,
    });
    // @ts-expect-error: ids are full-range u64
    client.generate({ text: 'a' }, { instanceId: 5 });
    // @ts-expect-error: metadata are strings
    client.generate({ text: 'a' }, { metadata: { a: 1 } });
    // @ts-expect-error: a stream of requests is sent once
    client.bidirectional((async function* () {})(), { attempts: 2 });
  });

  it('returns instances with bigint ids, and their changes as a union', () => {
    expectTypeOf(client.instances()).toEqualTypeOf<Instance[]>();
    expectTypeOf<Instance['instanceId']>().toBeBigInt();
    const change = null as unknown as InstanceChange;
    if (change.type === 'added') expectTypeOf(change.instance).toEqualTypeOf<Instance>();
    if (change.type === 'removed') expectTypeOf(change.instanceId).toBeBigInt();
    // @ts-expect-error: a removed instance is known by its id alone
    if (change.type === 'removed') void change.instance;
  });
});

describe('a runtime', () => {
  it('accepts only typed options', () => {
    assertType<RuntimeOptions>({
      discovery: { kind: 'file', dir: '/tmp/d' },
      requestPlane: 'nats',
      eventPlane: 'zmq',
      systemPort: 0,
    });
    // @ts-expect-error: discovery is an object
    void DistributedRuntime.create({ discovery: 'file' });
    // @ts-expect-error: memory has no folder
    void DistributedRuntime.create({ discovery: { kind: 'mem', dir: '/tmp/d' } });
    // @ts-expect-error: no such plane
    void DistributedRuntime.create({ requestPlane: 'http' });
    // @ts-expect-error: made by create
    void new DistributedRuntime();
  });

  it('is disposable and returns its configuration', () => {
    expectTypeOf(runtime).toExtend<AsyncDisposable>();
    expectTypeOf(runtime.instanceId).toBeBigInt();
    expectTypeOf(runtime.systemAddress).toEqualTypeOf<string | undefined>();
    expectTypeOf(runtime.config.discovery).toEqualTypeOf<'mem' | 'file' | 'etcd' | 'kubernetes'>();
    expectTypeOf(versions()).toEqualTypeOf<{
      readonly dynamoNode: string;
      readonly dynamo: string;
      readonly protocol: string;
      readonly nixl?: string;
    }>();
  });
});

describe('the context of a request', () => {
  it('is defined inside a handler, and may be undefined outside', () => {
    expectTypeOf(currentRequest()).toEqualTypeOf<RequestContext | undefined>();
    expectTypeOf<CancelKind>().toEqualTypeOf<'stopped' | 'killed' | 'shutdown'>();
    expectTypeOf<RequestContext>().toHaveProperty('signal').toEqualTypeOf<AbortSignal>();
  });

  it('keeps the type of events', () => {
    expectTypeOf(runtime.namespace('a').subscribe<Ask>).returns.resolves.toExtend<AsyncIterable<Event<Ask>>>();
    void runtime
      .namespace('a')
      .publisher<Ask>('topic')
      .then((publisher) => {
        void publisher.publish({ text: 'a' });
        // @ts-expect-error: not what the topic carries
        void publisher.publish({ txt: 'a' });
      });
  });

  it('requires the declared labels of metrics', () => {
    const counter = runtime.metrics.counter({ name: 'calls', help: 'Calls.', labelNames: ['model', 'code'] });
    expectTypeOf(counter).toEqualTypeOf<Counter<'model' | 'code'>>();
    counter.increment(1, { model: 'm', code: '200' });
    // @ts-expect-error: a label is missing
    counter.increment(1, { model: 'm' });
    // @ts-expect-error: no such label
    counter.increment(1, { model: 'm', code: '200', port: '1' });
    // @ts-expect-error: a histogram's option
    runtime.metrics.gauge({ name: 'g', help: 'G.', buckets: [1] });
  });

  it('has log lines with one of five levels', () => {
    startLog({
      write: ({ level }) => expectTypeOf(level).toEqualTypeOf<'trace' | 'debug' | 'info' | 'warn' | 'error'>(),
    }).close();
    // @ts-expect-error: a level is text
    startLog({ filter: { dynamo_llm: 'debug' } });
  });
});
