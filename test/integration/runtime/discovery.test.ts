import { DistributedRuntime, type RouterMode } from 'dynamo-node';
import { describe, expect, it } from 'vitest';

import { temporaryFolder, testRuntime } from '../../helpers/runtime/runtime.js';
import { waitFor } from '../../helpers/wait.js';

describe('discovery through a folder', () => {
  it('finds the other runtime of a process through a folder, and reports its start and end', async () => {
    const discovery = { kind: 'file', dir: temporaryFolder() } as const;
    const worker = await testRuntime({ discovery });
    const caller = await testRuntime({ discovery });
    expect(worker.instanceId).not.toBe(caller.instanceId);
    const client = await caller.endpoint<string, string>('pair.worker.generate').client();
    const changes = client.watch();
    expect((await changes.next()).value).toMatchObject({ type: 'resync', instances: [] });
    const served = await worker.endpoint<string, string>('pair.worker.generate').serve((text) => text.toUpperCase());
    expect((await changes.next()).value).toMatchObject({
      type: 'added',
      instance: { instanceId: worker.instanceId, codec: 'msgpack' },
    });
    await client.waitForInstances({ timeoutMs: 30_000 });
    expect(await client.unary('hello')).toBe('HELLO');
    expect(await client.unary('hello', { instanceId: worker.instanceId })).toBe('HELLO');
    await expect(client.unary('hello', { instanceId: 7n })).rejects.toMatchObject({ code: 'DYN_UNAVAILABLE' });
    expect(await caller.instances()).toMatchObject([{ namespace: 'pair', component: 'worker', endpoint: 'generate' }]);
    await served.close();
    expect((await changes.next()).value).toMatchObject({ type: 'removed', instanceId: worker.instanceId });
    await changes.return?.();
    await expect.poll(() => client.instances()).toEqual([]);
    await expect(client.unary('hello')).rejects.toMatchObject({ code: 'DYN_UNAVAILABLE', retryable: true });
  });

  /** Two workers that answer with their index, at once or on command of the test, and a client of both. */
  async function twoWorkers(mode: RouterMode) {
    const discovery = { kind: 'file', dir: temporaryFolder() } as const;
    const workers = await Promise.all([testRuntime({ discovery }), testRuntime({ discovery })]);
    const names = workers.map(({ instanceId }) => String(instanceId));
    const held: (() => void)[] = [];
    for (const [index, worker] of workers.entries()) {
      await worker.endpoint<boolean, string>('modes.worker.generate').serve(async (hold) => {
        await new Promise<void>((resolve) => (hold ? held.push(resolve) : setTimeout(resolve, 5)));
        return names[index] as string;
      });
    }
    const client = await (workers[0] as DistributedRuntime)
      .endpoint<boolean, string>('modes.worker.generate')
      .client({ mode });
    await client.waitForInstances({ count: 2, timeoutMs: 30_000 });
    const oneByOne = async (count: number): Promise<string[]> => {
      const answers: string[] = [];
      while (answers.length < count) answers.push(await client.unary(false));
      return answers;
    };
    return { client, names, held, oneByOne };
  }

  it.each(['round_robin', 'random', 'power_of_two_choices', 'least_loaded', 'device_aware_weighted'] as const)(
    'reaches both instances in mode %s',
    async (mode) => {
      const { client, names } = await twoWorkers(mode);
      expect(new Set(await Promise.all(Array.from({ length: 64 }, () => client.unary(false))))).toEqual(new Set(names));
    },
  );

  it('alternates in mode round_robin, and not in mode random', async () => {
    const turns = (answers: string[]): number =>
      answers.filter((name, index) => index > 0 && name !== answers[index - 1]).length;
    expect(turns(await (await twoWorkers('round_robin')).oneByOne(20))).toBe(19);
    const { names, oneByOne } = await twoWorkers('random');
    const answers = await oneByOne(80);
    expect(turns(answers)).toBeLessThan(70);
    expect(new Set(answers)).toEqual(new Set(names));
  });

  it.each(['power_of_two_choices', 'least_loaded', 'device_aware_weighted'] as const)(
    'avoids a busy instance in mode %s',
    async (mode) => {
      const { client, names, held, oneByOne } = await twoWorkers(mode);
      const busy = client.unary(true);
      await expect.poll(() => held.length).toBe(1);
      const idle = new Set(await oneByOne(20));
      expect(idle.size).toBe(1);
      held[0]?.();
      expect([...idle, await busy].sort()).toEqual([...names].sort());
    },
  );

  it('requires an instanceId in mode direct', async () => {
    const runtime = await testRuntime();
    const endpoint = runtime.endpoint<null, number>('direct.worker.generate');
    await endpoint.serve(() => 1);
    const client = await endpoint.client({ mode: 'direct' });
    await client.waitForInstances();
    expect(await client.unary(null, { instanceId: runtime.instanceId })).toBe(1);
    await expect(client.unary(null)).rejects.toThrow(/instanceId: expected an instance id/);
  });

  it('sends the request of a lost instance to one of its fallback, or fails without one', async () => {
    const discovery = { kind: 'file', dir: temporaryFolder() } as const;
    const serve = async (name: string) => {
      const runtime = await testRuntime({ discovery });
      const served = await runtime.endpoint('fallback.worker.generate').serve(() => name);
      return { id: runtime.instanceId, served };
    };
    const [gone, near, far] = [await serve('gone'), await serve('near'), await serve('far')];
    const client = await (await testRuntime({ discovery })).endpoint<null, string>('fallback.worker.generate').client();
    await client.waitForInstances({ count: 3, timeoutMs: 30_000 });
    const ask = (fallback?: 'any' | readonly bigint[]) =>
      client.unary(null, { instanceId: gone.id, ...(fallback === undefined ? {} : { fallback }) });
    expect(await Promise.all([ask(), ask('any'), ask([near.id])])).toEqual(['gone', 'gone', 'gone']);

    await gone.served.close();
    await waitFor(
      'the end of one',
      () => client.instances(),
      ({ length }) => length === 2,
    );
    expect(await Promise.all(Array.from({ length: 8 }, () => ask([near.id])))).toEqual(Array(8).fill('near'));
    expect(await Promise.all(Array.from({ length: 8 }, () => ask([far.id, gone.id])))).toEqual(Array(8).fill('far'));
    expect(['near', 'far']).toContain(await ask('any'));
    await expect(ask()).rejects.toMatchObject({ code: 'DYN_UNAVAILABLE' });
    await expect(ask([gone.id])).rejects.toMatchObject({ code: 'DYN_UNAVAILABLE' });
    await expect(ask([])).rejects.toMatchObject({ code: 'DYN_UNAVAILABLE' });

    await expect(client.unary(null, { fallback: 'any' })).rejects.toThrow(
      /options\.fallback: expected an instanceId beside it/,
    );
    for (const wrong of ['all', 7n, ['7'], [-1n], null])
      await expect(ask(wrong as never)).rejects.toThrow(/options\.fallback/);
  });

  it('accepts a path with dyn://', async () => {
    const runtime = await testRuntime();
    expect(runtime.endpoint('dyn://pair.worker.generate').path).toBe('pair.worker.generate');
    expect(() => runtime.endpoint('dyn:pair.worker.generate')).toThrow(RangeError);
  });

  it.each(['A.b.c', 'a b.c.d', 'a.b', 'a.b.c.d', '', 'a..c', 'ä.b.c'])('rejects the path %j', async (path) => {
    const runtime = await testRuntime();
    expect(() => runtime.endpoint(path)).toThrow(RangeError);
  });

  it('ends waitForInstances with its deadline, its signal, or the close of the client', async () => {
    const runtime = await testRuntime();
    const client = await runtime.endpoint('nobody.worker.generate').client();
    await expect(client.waitForInstances({ timeoutMs: 50 })).rejects.toMatchObject({
      code: 'DYN_DEADLINE_EXCEEDED',
      message: expect.stringContaining('expected 1 instances within 50 ms, got 0'),
    });
    const controller = new AbortController();
    const waiting = client.waitForInstances({ signal: controller.signal });
    controller.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
    const last = client.waitForInstances();
    await client.close();
    await expect(last).rejects.toMatchObject({ code: 'DYN_CLOSED' });
  });

  it('rejects every call after the close, and a second close waits for the first', async () => {
    const runtime = await DistributedRuntime.create({ discovery: { kind: 'mem' }, host: '127.0.0.1' });
    const endpoint = runtime.endpoint('closed.worker.generate');
    await Promise.all([runtime.close(), runtime.close()]);
    expect(() => runtime.namespace('x')).toThrow(/closed/);
    expect(() => runtime.endpoint('a.b.c')).toThrow(/closed/);
    await expect(endpoint.client()).rejects.toMatchObject({ code: 'DYN_CLOSED' });
    await expect(endpoint.serve(() => 1)).rejects.toMatchObject({ code: 'DYN_CLOSED' });
  });
});
