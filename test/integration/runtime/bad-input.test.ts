import {
  Annotated,
  type Client,
  ClosedError,
  closeOnSignal,
  DistributedRuntime,
  DynamoError,
  type Endpoint,
  FirstTokenSource,
  ForwardPassPublisher,
  ForwardPassRelay,
  ForwardPassSubscriber,
  Frontend,
  fetchModel,
  KvPublisher,
  KvRouter,
  registerModel,
  type ServedEndpoint,
  serveEngine,
  unregisterModel,
  updateModelTaints,
  WorkerMetricsPublisher,
} from 'dynamo-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { type AnsweringWorker, answeringWorker, cyclic, echo, throws } from '../../helpers/runtime/answering.js';
import { outcome } from '../../helpers/runtime/outcome.js';
import { testRuntime } from '../../helpers/runtime/runtime.js';

let answering: AnsweringWorker;
let runtime: DistributedRuntime;
let endpoint: Endpoint<unknown, unknown>;
let client: Client<unknown, unknown>;
/** Objects for the methods of a runtime and its endpoints. */
let made: Awaited<ReturnType<typeof make>>;

async function make(served: ServedEndpoint) {
  const at = runtime.endpoint('bad.engine.tokens');
  const worker = await serveEngine(at, {
    start: () => ({ model: 'bad', llm: { kvCacheBlockSize: 16, totalKvBlocks: 16 } }),
    async *generate() {},
  });
  await worker.ready;
  return {
    served,
    worker,
    frontend: await Frontend.start({ discovery: { kind: 'mem' } }, { host: '127.0.0.1', port: 0 }),
    counter: runtime.metrics.counter({ name: 'bad_counter', help: 'x' }),
    gauge: runtime.metrics.gauge({ name: 'bad_gauge', help: 'x' }),
    histogram: runtime.metrics.histogram({ name: 'bad_histogram', help: 'x' }),
    firstTokens: await FirstTokenSource.create(at, 'decode'),
    forwardPass: await ForwardPassPublisher.create(at),
    kvPublisher: await KvPublisher.create(at, { blockSize: 16 }),
    kvRouter: await KvRouter.create(at, { blockSize: 16 }),
    load: await WorkerMetricsPublisher.create(at),
  };
}

beforeAll(async () => {
  answering = await answeringWorker();
  ({ runtime, endpoint, client } = answering);
  made = await make(answering.served);
});

afterAll(async () => {
  const { frontend, firstTokens, forwardPass, kvPublisher, kvRouter, load, worker } = made;
  for (const one of [firstTokens, forwardPass, kvPublisher, kvRouter, load, worker]) await one.close();
  await frontend.close({ timeoutMs: 5000 });
  expect(await answering.close()).toEqual([]);
});

/** Arguments that every function rejects. */
const WRONG = [
  undefined,
  null,
  true,
  0,
  Number.NaN,
  -1,
  2 ** 53,
  1n,
  '',
  'x',
  Symbol('x'),
  () => {},
  [],
  [1],
  {},
  Object.create(null),
  cyclic,
  new Proxy({}, { get: throws, has: throws, ownKeys: throws }),
  new Date(0),
  new Map(),
];

/**
 * Each exported function and method with one argument open. If some of WRONG are valid for that argument, the row names
 * them.
 */
const CALLS: [string, (wrong: never) => unknown, right?: (value: unknown) => boolean][] = [
  ['DistributedRuntime.create', (wrong) => DistributedRuntime.create(wrong), isPlain],
  ['runtime.namespace', (wrong) => runtime.namespace(wrong), (value) => value === 'x'],
  ['runtime.endpoint', (wrong) => runtime.endpoint(wrong)],
  ['runtime.setHealthy', (wrong) => runtime.setHealthy(wrong), (value) => value === true],
  ['runtime.engineRoute', (wrong) => runtime.engineRoute(wrong, () => 1), isString],
  ['runtime.engineRoute handler', (wrong) => runtime.engineRoute('bad/handler', wrong), isFunction],
  ['namespace.component', (wrong) => runtime.namespace('bad').component(wrong), (value) => value === 'x'],
  ['namespace.publisher', (wrong) => runtime.namespace('bad').publisher(wrong), isString],
  ['namespace.subscribe', (wrong) => runtime.namespace('bad').subscribe(wrong), isString],
  ['runtime.close', (wrong) => runtime.close(wrong), isPlain],
  ['served.close', (wrong) => made.served.close(wrong), isPlain],
  ['worker.close', (wrong) => made.worker.close(wrong), isPlain],
  ['frontend.close', (wrong) => made.frontend.close(wrong), isPlain],
  ['frontend.models', (wrong) => made.frontend.models(wrong), isPlain],
  ['frontend.waitForModel', (wrong) => made.frontend.waitForModel(wrong), isString],
  ['frontend.waitForModel options', (wrong) => made.frontend.waitForModel('bad', wrong), isPlain],
  [
    'component.endpoint',
    (wrong) => runtime.namespace('bad').component('worker').endpoint(wrong),
    (value) => value === 'x',
  ],
  ['endpoint.serve', (wrong) => endpoint.serve(wrong), isFunction],
  ['endpoint.serve options', (wrong) => endpoint.serve(() => 1, wrong), isPlain],
  ['endpoint.serveBidirectional', (wrong) => endpoint.serveBidirectional(wrong), isFunction],
  ['endpoint.client', (wrong) => endpoint.client(wrong), isPlain],
  ['client.generate options', (wrong) => client.generate(1, wrong), isPlain],
  ['client.generateAnnotated options', (wrong) => client.generateAnnotated(1, wrong), isPlain],
  ['client.unary options', (wrong) => client.unary(1, wrong), isPlain],
  ['client.collect options', (wrong) => client.collect(1, wrong), isPlain],
  [
    'client.bidirectional',
    (wrong) => client.bidirectional(wrong),
    (value) => typeof value === 'object' && value !== null,
  ],
  ['client.waitForInstances', (wrong) => client.waitForInstances(wrong), isPlain],
  ['metrics.counter', (wrong) => runtime.metrics.counter(wrong)],
  ['metrics.gauge', (wrong) => runtime.metrics.gauge(wrong)],
  ['metrics.histogram', (wrong) => runtime.metrics.histogram(wrong)],
  ['metricsText.set', (wrong) => runtime.metrics.text().set(wrong), isString],
  ['counter.increment', (wrong) => made.counter.increment(wrong), isAmount],
  ['counter.increment labels', (wrong) => made.counter.increment(1, wrong), isPlain],
  ['gauge.set', (wrong) => made.gauge.set(wrong), isNumber],
  ['gauge.set labels', (wrong) => made.gauge.set(1, wrong), isPlain],
  ['gauge.add', (wrong) => made.gauge.add(wrong), isNumber],
  ['histogram.observe', (wrong) => made.histogram.observe(wrong), isNumber],
  ['new Annotated', (wrong) => new Annotated(wrong), isPlain],
  ['new DynamoError', (wrong) => new DynamoError(wrong, 'x')],
  ['closeOnSignal', (wrong) => closeOnSignal(wrong), isFunction],
  [
    'closeOnSignal signals',
    (wrong) => closeOnSignal(async () => {}, wrong),
    (value) => value === undefined || (Array.isArray(value) && value.length === 0),
  ],
  ['registerModel endpoint', (wrong) => registerModel(wrong, { modelName: 'x' })],
  ['registerModel options', (wrong) => registerModel(endpoint, wrong)],
  ['unregisterModel endpoint', (wrong) => unregisterModel(wrong)],
  ['updateModelTaints endpoint', (wrong) => updateModelTaints(wrong, [])],
  ['updateModelTaints taints', (wrong) => updateModelTaints(endpoint, wrong), () => true],
  ['serveEngine endpoint', (wrong) => serveEngine(wrong, { start: () => ({ model: 'x' }), async *generate() {} })],
  ['serveEngine engine', (wrong) => serveEngine(runtime.endpoint('bad.engine.other'), wrong)],
  ['FirstTokenSource.create', (wrong) => FirstTokenSource.create(wrong, 'decode')],
  ['ForwardPassPublisher.create', (wrong) => ForwardPassPublisher.create(wrong)],
  ['ForwardPassPublisher.create options', (wrong) => ForwardPassPublisher.create(endpoint, wrong), isPlain],
  ['ForwardPassRelay.create', (wrong) => ForwardPassRelay.create(wrong, 'tcp://127.0.0.1:1')],
  ['ForwardPassRelay.create address', (wrong) => ForwardPassRelay.create(endpoint, wrong), isString],
  ['ForwardPassSubscriber.create', (wrong) => ForwardPassSubscriber.create(wrong)],
  [
    'ForwardPassSubscriber.create received',
    (wrong) => ForwardPassSubscriber.create(endpoint, wrong),
    (value) => value === undefined || isFunction(value),
  ],
  ['KvPublisher.create', (wrong) => KvPublisher.create(wrong, { blockSize: 16 })],
  ['KvPublisher.create options', (wrong) => KvPublisher.create(endpoint, wrong)],
  ['KvRouter.create', (wrong) => KvRouter.create(wrong, { blockSize: 16 })],
  ['KvRouter.create options', (wrong) => KvRouter.create(endpoint, wrong)],
  ['WorkerMetricsPublisher.create', (wrong) => WorkerMetricsPublisher.create(wrong)],
  ['firstTokens.notify', (wrong) => made.firstTokens.notify(wrong), isString],
  [
    'firstTokens.notify dpRank',
    (wrong) => made.firstTokens.notify('x', wrong),
    (value) => value === undefined || value === 0,
  ],
  ['forwardPass.publish', (wrong) => made.forwardPass.publish(wrong)],
  ['kvPublisher.publish', (wrong) => made.kvPublisher.publish(wrong), isEmpty],
  ['kvPublisher.stored', (wrong) => made.kvPublisher.stored(wrong, []), isEmpty],
  ['kvPublisher.stored tokensHashes', (wrong) => made.kvPublisher.stored([], wrong), isEmpty],
  ['kvPublisher.stored options', (wrong) => made.kvPublisher.stored([], [], wrong), isPlain],
  ['kvPublisher.removed', (wrong) => made.kvPublisher.removed(wrong), isEmpty],
  ['kvPublisher.removed options', (wrong) => made.kvPublisher.removed([], wrong), isPlain],
  ['workerMetricsPublisher.publish', (wrong) => made.load.publish(wrong)],
  ['kvRouter.select', (wrong) => made.kvRouter.select(wrong)],
  ['kvRouter.reserve', (wrong) => made.kvRouter.reserve(wrong)],
  ['kvRouter.explain', (wrong) => made.kvRouter.explain(wrong)],
  ['kvRouter.overlapScores', (wrong) => made.kvRouter.overlapScores(wrong)],
  ['kvRouter.potentialLoads', (wrong) => made.kvRouter.potentialLoads(wrong)],
  ['kvRouter.prefillCompleted', (wrong) => made.kvRouter.prefillCompleted(wrong), isString],
  ['kvRouter.free', (wrong) => made.kvRouter.free(wrong), isString],
  ['unregisterModel options', (wrong) => unregisterModel(endpoint, wrong), isPlain],
  ['fetchModel', (wrong) => fetchModel(wrong), isString],
  ['Frontend.start options', (wrong) => Frontend.start({ discovery: { kind: 'mem' } }, wrong), isPlain],
];

function isPlain(value: unknown): boolean {
  return value === undefined || (typeof value === 'object' && value !== null && !Array.isArray(value));
}
function isEmpty(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0;
}
function isNumber(value: unknown): boolean {
  return typeof value === 'number' && !Number.isNaN(value);
}
function isAmount(value: unknown): boolean {
  return value === undefined || (isNumber(value) && (value as number) >= 0);
}
function isString(value: unknown): boolean {
  return typeof value === 'string';
}
function isFunction(value: unknown): boolean {
  return typeof value === 'function';
}

describe('wrong arguments', () => {
  let tried = 0;
  afterAll(() => console.log(`${CALLS.length} functions tried with ${tried} wrong arguments`));

  it.each(CALLS)('of %s throw a TypeError or RangeError with the path', async (_, call, right = () => false) => {
    for (const wrong of WRONG) {
      if (right(wrong)) continue;
      tried += 1;
      const error = (await outcome(() => call(wrong as never))) as Error;
      expect(error, String(error)).toBeInstanceOf(Error);
      if (error.message === 'a trap') continue;
      expect(['TypeError', 'RangeError']).toContain(error.name);
      expect(error.message).toMatch(/: (expected .*, got |unknown option; known are )/s);
    }
  });

  it('throw a different error for each numeric option of a request', async () => {
    for (const option of ['timeoutMs', 'attempts']) {
      for (const wrong of [Number.NaN, Number.POSITIVE_INFINITY, -1, 0, 0.5, 2 ** 53, '5', 5n, null]) {
        const error = await outcome(() => client.unary(1, { [option]: wrong } as never));
        expect(error, String(error)).toMatchObject({
          message: expect.stringContaining(`client.unary options.${option}: expected an integer`),
        });
      }
    }
    for (const wrong of [-1n, 2n ** 64n, 1, '1']) {
      const error = await outcome(() => client.unary(1, { instanceId: wrong as never }));
      expect(error).toMatchObject({
        message: expect.stringMatching(/options\.instanceId: expected (a bigint from 0|an instance id)/),
      });
    }
  });

  it('do not leave behind a runtime, an endpoint or a frontend that cannot be closed', async () => {
    const other = await testRuntime({ systemPort: 0, systemHost: '127.0.0.1' });
    const served = await other.endpoint('bad.closing.generate').serve(() => 1);
    for (const timeoutMs of [Number.NaN, -1, 2 ** 31, '5', null]) {
      await expect(served.close({ timeoutMs } as never)).rejects.toThrow(
        'served.close options.timeoutMs: expected an integer',
      );
      await expect(other.close({ timeoutMs } as never)).rejects.toThrow(
        'runtime.close options.timeoutMs: expected an integer',
      );
    }
    await expect(other.close({ timeout: 5 } as never)).rejects.toThrow('runtime.close options.timeout: unknown option');
    await served.close({ timeoutMs: 0 });
    await other.close({ timeoutMs: 1000 });
    expect(() => other.namespace('x')).toThrow(ClosedError);
  });

  it('in metadata and ids are transmitted or rejected, never fatal', async () => {
    answering.answer = (_, context) => ({ ...(context as never as { metadata: object }).metadata });
    expect(await client.unary(1, { metadata: { key: 'žluť', empty: '', '\u0000': 'nul' } })).toMatchObject({
      key: 'žluť',
      empty: '',
    });
    expect(await outcome(() => client.unary(1, { metadata: { lone: '\ud800' }, id: '\udfff' }))).toMatchObject({
      lone: '\ufffd',
    });
    expect(await outcome(() => client.unary(1, { metadata: { a: 1 } as never }))).toMatchObject({
      message: expect.stringContaining('options.metadata.a: expected a string, got 1'),
    });
  });
});

describe('payloads', () => {
  beforeAll(() => {
    answering.answer = echo;
  });

  it.each([
    ['a value that refers to itself', cyclic],
    ['a symbol', { deep: [Symbol('x')] }],
    ['a bigint of 80 bits', 2n ** 80n],
    [
      'a getter that throws',
      {
        get now() {
          return throws();
        },
      },
    ],
    ['a proxy that throws', new Proxy([], { get: throws })],
  ])('are rejected before anything is sent: %s', async (_, request) => {
    for (const call of [() => client.unary(request), () => client.generate(request), () => client.collect(request)]) {
      expect(await outcome(call)).toMatchObject({
        code: 'DYN_INVALID_REQUEST',
        message: expect.stringContaining('the request cannot be sent: '),
      });
    }
    const events = await runtime.namespace('bad').publisher('topic');
    expect(await outcome(() => events.publish(request))).toMatchObject({
      code: 'DYN_INVALID_REQUEST',
      message: expect.stringContaining('publisher.publish: the event cannot be sent: '),
    });
    async function* items(): AsyncGenerator<unknown> {
      yield request;
    }
    // A generator awaits what it yields, which a proxy may reject by itself.
    expect(await outcome(() => client.bidirectional(items()).collect())).toMatchObject({
      message: expect.stringMatching(/requests\[0\] cannot be sent|^a trap$/),
    });
    await events.close();
    expect(await client.unary('still there')).toBe('still there');
  });

  it('arrive if they are unusual', async () => {
    answering.answer = echo;
    expect(await client.unary('\ud800 lone')).toBe('\ufffd lone');
    expect(
      await client.unary(JSON.parse('{"__proto__": {"polluted": true}, "constructor": 1}') as never),
    ).toMatchObject({ constructor: 1 });
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
    expect(await client.unary(new Proxy({ a: [1] }, {}))).toEqual({ a: [1] });
    expect(await client.unary(undefined)).toBeNull();
    let deep: unknown = 1;
    for (let level = 0; level < 100; level++) deep = [deep];
    expect(await client.unary(deep)).toEqual(deep);
  });

  it('with extreme nesting cause an error and do not end a process', async () => {
    answering.answer = () => 1;
    let deep: unknown = 1;
    for (let level = 0; level < 5000; level++) deep = [deep];
    expect(await outcome(() => client.unary(deep))).toMatchObject({
      code: 'DYN_INVALID_REQUEST',
      message: expect.stringContaining('nested deeper than 512 levels'),
    });
    answering.answer = echo;
    expect(await client.unary('still there')).toBe('still there');
  });
});
