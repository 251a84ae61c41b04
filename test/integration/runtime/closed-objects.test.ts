import { setTimeout as after } from 'node:timers/promises';

import {
  ClosedError,
  DistributedRuntime,
  Frontend,
  registerModel,
  serveEngine,
  unregisterModel,
  updateModelTaints,
} from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';

import { outcome } from '../../helpers/runtime/outcome.js';
import { testRuntime } from '../../helpers/runtime/runtime.js';
import { within } from '../../helpers/wait.js';

describe('a closed object', () => {
  it('rejects every method with ClosedError, and a second close has no effect', async () => {
    const other = await testRuntime({ systemPort: 0, systemHost: '127.0.0.1' });
    const place = other.endpoint<unknown, unknown>('bad.closed.generate');
    await place.serve((value) => value);
    const calls = await place.client();
    await calls.waitForInstances();
    const publisher = await other.namespace('bad').publisher('topic');
    const stream = calls.generate(1);
    await stream.collect();
    await publisher.close();
    await publisher.close();
    await calls.close();
    await calls.close();
    expect(await stream.next()).toEqual({ done: true, value: undefined });
    expect(await stream.return()).toEqual({ done: true, value: undefined });
    stream.stop();
    await stream.kill();
    for (const call of [
      () => calls.generate(1),
      () => calls.unary(1),
      () => calls.collect(1),
      () => calls.instances(),
      () => calls.watch(),
      () => calls.waitForInstances(),
      () => publisher.publish(1),
    ]) {
      expect(await outcome(call)).toBeInstanceOf(ClosedError);
    }
    await Promise.all([other.close(), other.close(), other.close({ timeoutMs: 5 })]);
    for (const call of [
      () => other.namespace('x'),
      () => other.endpoint('a.b.c'),
      () => other.instances(),
      () => other.metrics,
      () => other.metricsText(),
      () => other.setHealthy(true),
      () => other.engineRoute('x', () => 1),
      () => place.serve(() => 1),
      () => place.serveBidirectional(async function* () {}),
      () => place.client(),
      () => place.register(),
      () => place.unregister(),
      () => place.metrics,
      () => place.publisher('x'),
      () => place.subscribe('x'),
      () => registerModel(place, { modelName: 'x' }),
      () => unregisterModel(place),
      () => updateModelTaints(place, []),
      () => serveEngine(place, { start: () => ({ model: 'x' }), async *generate() {} }),
      () => Frontend.start(other, { host: '127.0.0.1', port: 0 }),
    ]) {
      expect(await outcome(call)).toMatchObject({ code: 'DYN_CLOSED' });
    }
  });

  it('ends every call in flight exactly once', async () => {
    const other = await DistributedRuntime.create({
      discovery: { kind: 'mem' },
      host: '127.0.0.1',
      systemPort: 0,
      systemHost: '127.0.0.1',
    });
    const place = other.endpoint<number, number>('bad.midst.generate');
    await place.serve(async function* (value, { signal }) {
      for (let index = 0; !signal.aborted; index++) {
        await after(1);
        yield value + index;
      }
    });
    const calls = await place.client();
    await calls.waitForInstances();
    const watch = calls.watch();
    await watch.next();
    const events = await other.namespace('bad').subscribe('nothing');
    const open = [
      ...Array.from({ length: 20 }, (_, index) => calls.collect(index)),
      calls.unary(1),
      calls.waitForInstances({ count: 9 }),
      (async () => {
        for await (const _ of watch);
      })(),
      (async () => {
        for await (const _ of events);
      })(),
      place.client(),
      place.unregister(),
      other.instances(),
    ];
    const ends = Promise.allSettled(open);
    await after(20);
    await within(10_000, 'the close', other.close({ timeoutMs: 300 }));
    onTestFinished(() => calls.close());
    await calls.close();
    const results = await within(10_000, 'the ends', ends);
    for (const result of results) {
      if (result.status === 'rejected')
        expect(result.reason, String(result.reason)).toMatchObject({ code: expect.stringMatching(/^DYN_/) });
    }
  });
});
