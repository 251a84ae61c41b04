import { type DistributedRuntime, ForwardPassPublisher } from 'dynamo-node';
import { type DecisionRecord, Planner, RuntimeObserver, type Scaler } from 'dynamo-node/planner';
import { describe, expect, it, onTestFinished } from 'vitest';
import { deployments } from '../../helpers/llm/deployments.js';
import { waitFor } from '../../helpers/wait.js';

const deployment = deployments();
const path = 'test.backend.generate';

describe('a planner on a running deployment', () => {
  it('adds workers while their KV caches are full, and removes them when they are idle', async () => {
    const here = deployment();
    const workers: { runtime: DistributedRuntime; publisher: ForwardPassPublisher }[] = [];
    let totalKvTokens = 0;
    const add = async (): Promise<void> => {
      const runtime = await here.runtime();
      await runtime.endpoint(path).serve(() => 1);
      workers.push({ runtime, publisher: await ForwardPassPublisher.create(runtime.endpoint(path)) });
    };
    const remove = async (): Promise<void> => {
      const { runtime, publisher } = workers.pop() as (typeof workers)[number];
      await publisher.close();
      await runtime.close({ timeoutMs: 2000 });
    };
    await add();
    onTestFinished(async () => {
      while (workers.length > 0) await remove();
    });
    const pass = setInterval(() => {
      const decodeKvTokens = Math.floor(totalKvTokens / workers.length);
      for (const { publisher } of workers)
        publisher.publish({ wallTimeSeconds: 0.01, scheduled: { decodeRequests: 1, decodeKvTokens } });
    }, 20);
    onTestFinished(() => clearInterval(pass));

    const endpoint = (await here.runtime()).endpoint(path);
    const client = await endpoint.client();
    onTestFinished(() => client.close());
    let desired = 1;
    const scaler: Scaler = {
      current: () => ({ worker: { desired, ready: client.instances().length } }),
      async scale({ worker = desired }) {
        desired = worker;
        while (workers.length < desired) await add();
        while (workers.length > desired) await remove();
      },
    };
    const observer = await RuntimeObserver.create({ endpoints: { worker: endpoint } });
    onTestFinished(() => observer.close());
    const records: DecisionRecord[] = [];
    const planner = Planner.start({
      ...{ observer, scaler, onDecision: (record) => records.push(record) },
      config: {
        ...{ objective: 'throughput', intervalMs: 100, coldStartMs: 200, maxGpus: 4 },
        pools: { worker: { kvTokens: 1000 } },
      },
    });
    onTestFinished(() => planner.close());

    await waitFor('a decision', () => records.length > 0);
    totalKvTokens = 2900;
    await waitFor('three workers', () => client.instances().length === 3);
    totalKvTokens = 100;
    await waitFor('one worker', () => client.instances().length === 1);
    expect(records.flatMap(({ errors }) => errors)).toEqual([]);
    expect(Math.max(...records.map(({ targets }) => targets.worker ?? 0))).toBe(3);
    expect(Math.min(...records.map(({ targets }) => targets.worker ?? 0))).toBe(1);
  });
});
