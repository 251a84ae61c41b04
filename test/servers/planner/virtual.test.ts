import { DynamoError } from 'dynamo-node';
import {
  VirtualClient,
  type VirtualClientOptions,
  VirtualScaler,
  type VirtualScalerOptions,
} from 'dynamo-node/planner';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { Server, serversMissing } from '../../helpers/servers.js';
import { waitFor, within } from '../../helpers/wait.js';

const missing = serversMissing('etcd');
const { signal } = new AbortController();

let server: Server;
let namespaces = 0;

beforeAll(async () => {
  if (missing === undefined) server = await Server.etcd();
});
afterAll(() => server?.close());
beforeEach(({ skip }) => skip(missing !== undefined, missing));

/** Both sides of a new namespace. */
function sides(more: Partial<VirtualScalerOptions> = {}) {
  const place = { namespace: `planner-${namespaces++}`, endpoints: [server.url] };
  const scaler = (options: Partial<VirtualScalerOptions> = more): VirtualScaler => {
    const made = new VirtualScaler({ ...place, ready: () => ({ prefill: 1, decode: 2 }), ...options });
    onTestFinished(() => made.close());
    return made;
  };
  const client = (options: Partial<VirtualClientOptions> = {}): VirtualClient => {
    const made = new VirtualClient({ ...place, pollMs: 20, ...options });
    onTestFinished(() => made.close());
    return made;
  };
  return { scaler, client };
}

describe('decisions in etcd', () => {
  it('reach the other side and are completed', async () => {
    const { scaler, client } = sides();
    const [planner, supervisor] = [scaler(), client()];
    expect(await planner.current({ signal })).toEqual({
      prefill: { desired: 1, ready: 1 },
      decode: { desired: 2, ready: 2 },
    });
    expect(await supervisor.get()).toBeUndefined();
    await planner.scale({ prefill: 3 });
    const decision = await supervisor.next();
    expect(decision).toEqual({ id: 0, prefill: 3 });
    await supervisor.complete(decision);
    expect(await supervisor.get()).toBeUndefined();
    await planner.scale({ decode: 5 });
    expect(await supervisor.next()).toEqual({ id: 1, prefill: 3, decode: 5 });
    expect(await planner.current({ signal })).toEqual({
      prefill: { desired: 3, ready: 1 },
      decode: { desired: 5, ready: 2 },
    });
  });

  it('are refused while the last one is not completed, until it is too old', async () => {
    const { scaler } = sides();
    const planner = scaler();
    await planner.scale({ prefill: 3 });
    await expect(planner.scale({ prefill: 4 })).rejects.toMatchObject({ code: 'DYN_CONFLICT' });
    // Another planner, such as one that has restarted, waits too.
    await expect(scaler().scale({ prefill: 4 })).rejects.toMatchObject({ code: 'DYN_CONFLICT' });
    const impatient = scaler({ maxWaitMs: 50 });
    await expect(impatient.scale({ prefill: 4 })).rejects.toMatchObject({ code: 'DYN_CONFLICT' });
    await waitFor('the time', () =>
      impatient.scale({ prefill: 4 }).then(
        () => true,
        () => false,
      ),
    );
    expect((await impatient.current({ signal })).prefill?.desired).toBe(4);
  });

  it('of two planners at the same time are taken from one', async () => {
    const { scaler } = sides();
    const results = await Promise.allSettled([scaler().scale({ prefill: 2 }), scaler().scale({ prefill: 9 })]);
    expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
  });

  it('of the next planner are not taken for completed ones of the last', async () => {
    const { scaler, client } = sides();
    const supervisor = client();
    const first = scaler();
    await first.scale({ prefill: 3 });
    await supervisor.complete(await supervisor.next());
    await first.close();
    await scaler().scale({ prefill: 4 });
    expect(await supervisor.next()).toEqual({ id: 1, prefill: 4 });
  });

  it('vanish with their planner', async () => {
    const { scaler, client } = sides();
    const planner = scaler();
    await planner.scale({ prefill: 3 });
    await planner.close();
    await waitFor('the end', async () => (await client().get()) === undefined);
  });

  it('wait until the signal aborts', async () => {
    const { client } = sides();
    await expect(within(5000, 'the abort', client().next(AbortSignal.timeout(100)))).rejects.toThrow();
  });

  it('use the next address if one does not answer', async () => {
    const { scaler } = sides({ endpoints: ['http://127.0.0.1:1', server.url] });
    await scaler().scale({ prefill: 3 });
  });

  it('fail with an error of class Unavailable if no address answers', async () => {
    const { scaler } = sides({ endpoints: ['http://127.0.0.1:1'] });
    const error = await scaler()
      .scale({ prefill: 3 })
      .catch((reason: unknown) => reason);
    expect(DynamoError.is(error) && error.code).toBe('DYN_UNAVAILABLE');
  });

  it('are kept for longer than a lease while the planner runs', async () => {
    const { scaler, client } = sides({ leaseTtlSeconds: 1 });
    await scaler().scale({ prefill: 3 });
    await new Promise((resolve) => setTimeout(resolve, 3500));
    expect(await client().get()).toEqual({ id: 0, prefill: 3 });
  });

  it.each([
    ['no namespace', {}, 'options.namespace'],
    ['an unknown option', { namespace: 'a', speed: 1 }, 'options.speed'],
    ['a bad namespace', { namespace: 'a/b' }, 'options.namespace'],
  ])('reject %s', (_, options, field) => {
    expect(() => new VirtualClient(options as VirtualClientOptions)).toThrow(field);
  });
});
