import { DistributedRuntime } from 'dynamo-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

interface Seen {
  readonly endpoint: string;
  readonly id: string;
}

describe('child requests of one handler', () => {
  let runtime: DistributedRuntime;
  const seen: Seen[] = [];

  beforeAll(async () => {
    runtime = await DistributedRuntime.create({ discovery: { kind: 'mem' }, host: '127.0.0.1' });
    const clientOf = async (endpoint: string) => {
      await runtime.endpoint<number, number>(`children.worker.${endpoint}`).serve((value, { id }) => {
        seen.push({ endpoint, id });
        return value;
      });
      const client = await runtime.endpoint<number, number>(`children.worker.${endpoint}`).client();
      await client.waitForInstances({ timeoutMs: 30_000 });
      return client;
    };
    const [one, other] = [await clientOf('one'), await clientOf('other')];
    await runtime.endpoint<string, number[]>('children.parent.fan').serve(async (how) => {
      if (how === 'in turn') return [await one.unary(1), await one.unary(2)];
      if (how === 'both') return Promise.all([one.unary(1), other.unary(2)]);
      const streams = [3, 4].map(async (value) => (await one.collect(value))[0] as number);
      return Promise.all([one.unary(1), one.unary(2), ...streams]);
    });
  });

  afterAll(() => runtime.close());

  const call = async (how: string, id: string): Promise<number[]> => {
    seen.length = 0;
    const client = await runtime.endpoint<string, number[]>('children.parent.fan').client();
    await client.waitForInstances({ timeoutMs: 30_000 });
    return client.unary(how, { id });
  };

  it('inherit the id one after the other, and at the same time to different endpoints', async () => {
    expect(await call('in turn', 'a')).toEqual([1, 2]);
    expect(await call('both', 'b')).toEqual([1, 2]);
    expect(seen.map(({ id }) => id)).toEqual(['b', 'b']);
  });

  it('all succeed at the same time to one endpoint, with ids that begin with the inherited one', async () => {
    for (let round = 0; round < 20; round++) {
      expect(await call('at once', `c${round}`)).toEqual([1, 2, 3, 4]);
      const ids = seen.map(({ id }) => id);
      expect(new Set(ids).size).toBe(4);
      expect(ids).toContain(`c${round}`);
      for (const id of ids) expect(id).toMatch(new RegExp(`^c${round}(-[0-9a-f]{8})?$`));
    }
  });
});
