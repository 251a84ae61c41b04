/** callbacks.ts: makes each callback of a user fail, and peers send odd data. Reports what would end the process. */

import { invoke, native } from '../../../lib/addon/invoke.js';
import {
  DistributedRuntime,
  DynamoError,
  type EventSubscription,
  ForwardPassPublisher,
  ForwardPassSubscriber,
  KvRouter,
  serveEngine,
  startLog,
} from '../../../lib/index.js';
import { emit } from '../../helpers/runtime/programs/lines.js';
import { waitFor } from '../../helpers/wait.js';

const trap = (kind: string) => (error: unknown) => emit('trapped', { kind, message: String(error) });
process.on('unhandledRejection', trap('unhandledRejection'));
process.on('uncaughtException', trap('uncaughtException'));
const warnings: string[] = [];
process.on('warning', ({ message }) => void warnings.push(message));

const fails = (): never => {
  throw new Error('a failing callback');
};
const rejects = async (): Promise<never> => fails();
/** Both kinds in turn. */
const failing = (): (() => never) => {
  let calls = 0;
  return () => (calls++ % 2 === 0 ? fails() : (rejects() as never));
};
const deep = (levels: number): unknown => JSON.parse('['.repeat(levels) + ']'.repeat(levels));
const TOO_DEEP = Buffer.concat([Buffer.alloc(600, 0x91), Buffer.from([0xc0])]);

const runtime = await DistributedRuntime.create({
  discovery: { kind: 'mem' },
  host: '127.0.0.1',
  systemPort: 0,
  systemHost: '127.0.0.1',
});
const get = async (path: string, init?: RequestInit): Promise<Response> =>
  fetch(`http://${runtime.systemAddress}${path}`, init);
const handleOf = (owner: object) => (owner as { handle(operation: string): never }).handle('test');

const cases: Record<string, () => Promise<unknown>> = {
  async log() {
    const log = startLog({ filter: 'debug', write: failing() });
    await runtime.endpoint('test.log.lines').serve(() => 1);
    await waitFor('the warning', () => warnings.some((message) => message.startsWith('startLog write threw')));
    log.close();
  },
  async render() {
    for (const render of [fails, rejects, () => 7 as never]) runtime.metrics.text({ render });
    await get('/metrics');
    await get('/metrics');
  },
  async parse() {
    for (const [name, parse] of [fails, rejects].entries()) {
      const endpoint = runtime.endpoint(`test.parse.p${name}`);
      await endpoint.serve((request) => request, { parse });
      const client = await endpoint.client();
      await client.waitForInstances();
      await client.unary(1).catch(() => {});
    }
  },
  async handler() {
    const endpoint = runtime.endpoint<number, unknown>('test.callbacks.handler');
    const trapped = new Proxy({}, { getPrototypeOf: fails, get: fails, has: fails });
    const thrown = [new DynamoError('Conflict', 'x', { details: deep(600) }), trapped, undefined, fails];
    await endpoint.serve((index) => {
      if (index >= thrown.length) return Promise.reject(thrown[index % thrown.length]);
      throw thrown[index];
    });
    const client = await endpoint.client();
    await client.waitForInstances();
    for (let index = 0; index < thrown.length * 2; index++) await client.collect(index).catch(() => {});
  },
  async generator() {
    const endpoint = runtime.endpoint<number, unknown>('test.callbacks.generator');
    let ends = 0;
    await endpoint.serve(async function* (items) {
      try {
        for (let index = 0; index < items; index++) yield index;
        yield fails;
      } finally {
        ends += 1;
        await rejects();
      }
    });
    const client = await endpoint.client();
    await client.waitForInstances();
    await client.collect(1).catch(() => {});
    const stream = client.generate(1000);
    await stream.next();
    await stream.return();
    await waitFor('both ends', () => ends === 2);
  },
  async requests() {
    const endpoint = runtime.endpoint<unknown, unknown>('test.callbacks.requests');
    await endpoint.serveBidirectional(async function* (requests) {
      for await (const request of requests) yield request;
    });
    const client = await endpoint.client();
    await client.waitForInstances();
    const source = (next: () => unknown, end: () => unknown) =>
      ({ [Symbol.asyncIterator]: () => ({ next, return: end }) }) as AsyncIterable<unknown>;
    for (const end of [fails, rejects]) {
      for (const next of [fails, rejects, () => ({ done: false, value: fails })])
        await client
          .bidirectional(source(next, end))
          .collect()
          .catch(() => {});
      const stream = client.bidirectional(source(async () => ({ done: false, value: 1 }), end));
      await stream.next();
      await stream.return();
    }
  },
  async events() {
    const place = runtime.namespace('events');
    const events: EventSubscription<string> = await place.subscribe<string>('load');
    const publisher = await place.publisher<string>('load');
    let seen = 0;
    void (async () => {
      for await (const _ of events) seen += 1;
    })();
    await waitFor('an event', async () => (await publisher.publish('x'), seen > 0));
    await invoke(native.publisherPublish, 'test', { handle: handleOf(publisher), payload: TOO_DEEP });
    await waitFor('the odd event', () => events.skipped === 1);
    await events.return!();
  },
  async 'forward passes'() {
    const endpoint = runtime.endpoint('test.forward.passes');
    const subscriber = await ForwardPassSubscriber.create(endpoint, failing());
    const publisher = await ForwardPassPublisher.create(endpoint);
    await waitFor('a pass', () => (publisher.publish({ wallTimeSeconds: 1 }), subscriber.latest().length > 0));
    await publisher.close();
    await subscriber.close();
  },
  async metadata() {
    const endpoint = runtime.endpoint('test.callbacks.metadata');
    await endpoint.serve((_, { metadata }) => Object.keys(metadata).length);
    const client = await endpoint.client();
    await client.waitForInstances();
    const metadata = Object.fromEntries(Array.from({ length: 100_000 }, (_, index) => [`key-${index}`, '']));
    await client.unary(1, { metadata, timeoutMs: 20_000 }).catch(() => {});
    await client.unary(1);
  },
  async route() {
    runtime.engineRoute('fails', failing());
    for (let round = 0; round < 2; round++) await get('/engine/fails', { method: 'POST', body: '{}' });
  },
  async score() {
    const endpoint = runtime.endpoint('test.callbacks.score');
    const llm = { kvCacheBlockSize: 16, totalKvBlocks: 16 };
    const worker = await serveEngine(endpoint, { start: () => ({ model: 'm', llm }), async *generate() {} });
    await worker.ready;
    const router = await KvRouter.create(endpoint, { blockSize: 16, policy: { score: failing() } });
    const tokens = Uint32Array.from([1, 2, 3]);
    await waitFor('the failures of score', async () => {
      await router.select({ tokens }).catch(() => undefined);
      return (router.policyCounts?.failed ?? 0) >= 2;
    });
    await router.close();
    await worker.close({ timeoutMs: 10 });
  },
  async timers() {
    const client = await runtime.endpoint('test.nobody.serves').client();
    const waiting = client.waitForInstances({ timeoutMs: 50 }).catch(() => {});
    const late = client.unary(1, { timeoutMs: 1 }).catch(() => {});
    await client.close();
    await Promise.all([waiting, late]);
  },
  async watchers() {
    const client = await runtime.endpoint('test.watched.by').client();
    for (let round = 0; round < 3; round++) {
      await (async () => {
        for await (const _ of client.watch()) fails();
      })().catch(() => {});
    }
  },
};

for (const [name, run] of Object.entries(cases)) {
  try {
    await run();
    emit('done', { name });
  } catch (error) {
    emit('failed', { name, message: String(error) });
  }
}
await runtime.close({ timeoutMs: 1000 });
// Whatever is rejected without a handler is reported by now.
await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
emit('end', { names: Object.keys(cases), warnings });
