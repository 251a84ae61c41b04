import { type Client, DynamoError, type RequestOptions, type RouterMode } from 'dynamo-node';
import { describe, expect, it } from 'vitest';

import { temporaryFolder, testRuntime } from '../../helpers/runtime/runtime.js';

/** Instances of which each counts its calls, and fails retryably unless it is `healthy`. */
async function pool(size: number, mode: RouterMode, healthy?: number) {
  const discovery = { kind: 'file', dir: temporaryFolder() } as const;
  const calls = Array.from({ length: size }, () => 0);
  const order: bigint[] = [];
  const ids: bigint[] = [];
  for (const index of calls.keys()) {
    const runtime = await testRuntime({ discovery });
    const endpoint = runtime.endpoint<string, number>('attempts.worker.generate');
    const { instance } = await endpoint.serve((request) => {
      calls[index] = (calls[index] as number) + 1;
      order.push(runtime.instanceId);
      if (index !== healthy) throw new DynamoError('Unavailable', `${request}: not here`);
      return index;
    });
    ids.push(instance.instanceId);
  }
  const caller = await testRuntime({ discovery });
  const client = await caller.endpoint<string, number>('attempts.worker.generate').client({ mode });
  await client.waitForInstances({ count: size, timeoutMs: 30_000 });
  return { client, calls, order, ids };
}

type Call = (client: Client<string, number>, options: RequestOptions) => Promise<number>;

const unary: Call = (client, options) => client.unary('call', options);
const stream: Call = async (client, options) => (await client.collect('call', options))[0] as number;

const MODES = ['round_robin', 'random', 'power_of_two_choices', 'least_loaded'] as const;

describe.each([
  ['a unary call', unary],
  ['a stream', stream],
])('%s with attempts', (_, call) => {
  it.each(MODES)('goes to each instance at most once and fails with the last error, in mode %s', async (mode) => {
    const { client, calls, order } = await pool(3, mode);
    for (let round = 1; round <= 4; round++) {
      const error = await call(client, { attempts: 1000 }).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ code: 'DYN_UNAVAILABLE', message: 'call: not here', instanceId: order.at(-1) });
      expect(calls).toEqual([round, round, round]);
    }
  });

  it.each(MODES)('is answered by the only instance that does not fail it, in mode %s', async (mode) => {
    const { client } = await pool(3, mode, 1);
    for (let round = 0; round < 10; round++) expect(await call(client, { attempts: 3 })).toBe(1);
  });

  it('goes to at most as many instances as it has attempts', async () => {
    const { client, calls } = await pool(3, 'round_robin');
    await expect(call(client, { attempts: 2 })).rejects.toMatchObject({ code: 'DYN_UNAVAILABLE' });
    expect(calls.toSorted()).toEqual([0, 1, 1]);
  });

  it('goes on only to the fallback of its instance', async () => {
    const { client, calls, ids } = await pool(4, 'round_robin');
    const [instanceId, other] = ids as [bigint, bigint];
    await expect(call(client, { instanceId, attempts: 9 })).rejects.toMatchObject({ instanceId });
    expect(calls).toEqual([1, 0, 0, 0]);
    const within = { instanceId, fallback: [other], attempts: 9 };
    await expect(call(client, within)).rejects.toMatchObject({ instanceId: other });
    expect(calls).toEqual([2, 1, 0, 0]);
    await expect(call(client, { instanceId, fallback: 'any', attempts: 9 })).rejects.toThrow('not here');
    expect(calls).toEqual([3, 2, 1, 1]);
  });

  it('goes on to the fallback in mode direct', async () => {
    const { client, calls, ids } = await pool(2, 'direct', 1);
    const options = { instanceId: ids[0] as bigint, fallback: [ids[1] as bigint], attempts: 2 };
    expect(await call(client, options)).toBe(1);
    expect(calls).toEqual([1, 1]);
  });
});

describe('an error of a request', () => {
  it('has the id of the instance that the request was sent to', async () => {
    const { client, ids } = await pool(1, 'round_robin');
    await expect(client.unary('call')).rejects.toMatchObject({ instanceId: ids[0] });
    await expect(client.unary('call', { instanceId: ids[0] as bigint })).rejects.toMatchObject({ instanceId: ids[0] });
  });

  it('has no instance id if no instance could be called', async () => {
    const runtime = await testRuntime();
    const client = await runtime.endpoint('attempts.nobody.generate').client();
    const error = await client.unary('call', { attempts: 3 }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'DYN_UNAVAILABLE', instanceId: undefined });
  });
});
