import { setImmediate as turn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

import { DistributedRuntime } from 'dynamo-node';
import { describe, expect, it } from 'vitest';

import { temporaryFolder, testRuntime } from '../../helpers/runtime/runtime.js';
import { waitFor } from '../../helpers/wait.js';

describe('several runtimes', () => {
  it('can be created repeatedly after the close of the last one', async () => {
    const dir = temporaryFolder();
    for (let round = 0; round < 5; round++) {
      const runtime = await DistributedRuntime.create({ discovery: { kind: 'file', dir }, host: '127.0.0.1' });
      const endpoint = runtime.endpoint<number, number>('again.worker.generate');
      await endpoint.serve((value) => value + round);
      const client = await endpoint.client();
      await client.waitForInstances({ timeoutMs: 30_000 });
      expect(client.instances().map(({ instanceId }) => instanceId)).toEqual([runtime.instanceId]);
      expect(await client.unary(1)).toBe(1 + round);
      await runtime.close();
      await runtime.close();
      expect(() => runtime.endpoint('again.worker.generate')).toThrow('closed');
    }
  });

  it('find and call each other in one process by file discovery, with one address and separate ids', async () => {
    const dir = temporaryFolder();
    const runtimes = await Promise.all([1, 2, 3].map(() => testRuntime({ discovery: { kind: 'file', dir } })));
    expect(new Set(runtimes.map(({ instanceId }) => instanceId)).size).toBe(3);
    for (const [index, runtime] of runtimes.entries())
      await runtime.endpoint<null, number>('several.worker.generate').serve(() => index);
    for (const runtime of runtimes) {
      const client = await runtime.endpoint<null, number>('several.worker.generate').client();
      const instances = await client.waitForInstances({ count: 3, timeoutMs: 30_000 });
      expect(new Set(instances.map(({ address }) => address.split('/')[0])).size).toBe(1);
      const answers = await Promise.all(runtimes.map(({ instanceId }) => client.unary(null, { instanceId })));
      expect(answers).toEqual([0, 1, 2]);
    }
  });

  it('continue after the close of another runtime of the process', async () => {
    const dir = temporaryFolder();
    const staying = await testRuntime({ discovery: { kind: 'file', dir } });
    const leaving = await testRuntime({ discovery: { kind: 'file', dir } });
    await staying.endpoint<null, string>('leaving.worker.generate').serve(() => 'stayed');
    await leaving.endpoint<null, string>('leaving.worker.generate').serve(() => 'left');
    const client = await staying.endpoint<null, string>('leaving.worker.generate').client();
    await client.waitForInstances({ count: 2, timeoutMs: 30_000 });
    await leaving.close();
    await waitFor(
      'the instances of the client',
      () => client.instances(),
      (instances) => instances.length === 1,
    );
    expect(await Promise.all(Array.from({ length: 20 }, () => client.unary(null)))).toEqual(
      Array.from({ length: 20 }, () => 'stayed'),
    );
  });

  it('do not see each other with discovery in memory', async () => {
    const [one, other] = [await testRuntime(), await testRuntime()];
    await one.endpoint('private.worker.generate').serve(() => 1);
    expect(await one.instances()).toHaveLength(1);
    expect(await other.instances()).toEqual([]);
    const client = await other.endpoint('private.worker.generate').client();
    await expect(client.waitForInstances({ timeoutMs: 200 })).rejects.toMatchObject({ code: 'DYN_DEADLINE_EXCEEDED' });
  });

  it('reject another value of an option that is fixed for the process, and name the current value', async () => {
    await testRuntime();
    const conflict = DistributedRuntime.create({ discovery: { kind: 'mem' }, host: '127.0.0.2' });
    await expect(conflict).rejects.toMatchObject({
      code: 'DYN_CONFLICT',
      message: expect.stringMatching(/127\.0\.0\.2.*127\.0\.0\.1/),
    });
  });

  it('serve an endpoint until its close, even if the program drops the returned object', async () => {
    setFlagsFromString('--expose-gc');
    const collectGarbage = runInNewContext('gc') as () => void;
    const runtime = await testRuntime();
    const client = await (async () => {
      const endpoint = runtime.endpoint<null, number>('kept.worker.generate');
      await endpoint.serve(() => 1);
      return endpoint.client();
    })();
    await client.waitForInstances({ timeoutMs: 30_000 });
    for (let round = 0; round < 10; round++) {
      collectGarbage();
      await turn();
    }
    expect(client.instances()).toHaveLength(1);
    expect(await client.unary(null)).toBe(1);
  });
});
