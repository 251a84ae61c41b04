import { type Client, DistributedRuntime } from 'dynamo-node';
import { afterAll, afterEach, beforeAll, expect, it, onTestFinished } from 'vitest';

import { Child } from '../child.js';
import { waitFor } from '../wait.js';
import { KubernetesStandIn, type Pod } from './kubernetes.js';
import type { NumbersItem, NumbersRequest } from './worker-protocol.js';

type Numbers = Client<NumbersRequest, NumbersItem>;

const VARIABLES = ['KUBECONFIG', 'POD_NAME', 'POD_UID', 'POD_NAMESPACE', 'CONTAINER_NAME'];
const SWEPT_MS = 20_000;

/** Discovery between processes with the environment of pods, in one of its two modes. */
export function describeKubernetes(mode: 'pod' | 'container'): void {
  const container = mode === 'container' ? 'engine' : undefined;
  const discovery = { kind: 'kubernetes', mode } as const;
  /** The name of a worker's metadata. */
  const metadataOf = (pod: string): string => (container === undefined ? pod : `${pod}-${container}`);
  let standIn: KubernetesStandIn;
  const before = { ...process.env };

  beforeAll(async () => {
    standIn = await KubernetesStandIn.start();
    Object.assign(process.env, standIn.environment({ name: 'caller-0', uid: 'uid-of-caller' }, container));
  });
  afterEach(() => standIn.forbidden.clear());
  afterAll(async () => {
    for (const name of VARIABLES) {
      if (before[name] === undefined) delete process.env[name];
      else process.env[name] = before[name];
    }
    await standIn.stop();
  });

  const setPod = (pod: Pod): void =>
    standIn.setPod({ ...pod, ...(container === undefined ? {} : { containers: [container] }) });

  async function runtimeHere(): Promise<DistributedRuntime> {
    const runtime = await DistributedRuntime.create({ discovery, host: '127.0.0.1' });
    onTestFinished(() => runtime.close({ timeoutMs: 5000 }));
    return runtime;
  }

  async function clientOf(path: string): Promise<Numbers> {
    const client = await (await runtimeHere()).endpoint<NumbersRequest, NumbersItem>(path).client();
    onTestFinished(() => client.close());
    return client;
  }

  /** A worker in a separate process, whose pod is not ready yet. */
  async function workerIn(pod: { name: string; uid: string }, path: string): Promise<Child> {
    setPod({ ...pod, ready: false });
    const options = { path, runtime: { discovery, host: '127.0.0.1' } };
    const child = Child.program('test/helpers/runtime/programs/worker.ts', [JSON.stringify(options)], {
      env: standIn.environment(pod, container),
    });
    onTestFinished(() => child.stop());
    await child.event('ready');
    return child;
  }

  const endpointsOf = (worker: string): string[] => {
    const spec = standIn.workers.get(worker)?.['spec'] as
      | { data: { endpoints: Record<string, { endpoint: string }> } }
      | undefined;
    return Object.values(spec?.data.endpoints ?? {}).map(({ endpoint }) => endpoint);
  };
  const none = (client: Numbers): Promise<unknown> =>
    waitFor(
      'the instances',
      () => client.instances(),
      (instances) => instances.length === 0,
      SWEPT_MS,
    );

  it('finds a worker in another process while its pod is ready, until it leaves', {
    timeout: 60_000,
  }, async () => {
    const pod = { name: 'worker-0', uid: 'uid-of-worker-0' };
    const worker = await workerIn(pod, 'kube.plain.generate');
    expect(endpointsOf(metadataOf(pod.name))).toEqual(['generate']);
    const owners = standIn.workers.get(metadataOf(pod.name))?.metadata.ownerReferences;
    expect(owners).toEqual([expect.objectContaining({ kind: 'Pod', name: pod.name, uid: pod.uid })]);

    const client = await clientOf('kube.plain.generate');
    await expect(client.waitForInstances({ timeoutMs: 300 })).rejects.toMatchObject({ code: 'DYN_DEADLINE_EXCEEDED' });
    setPod({ ...pod, ready: true });
    expect(await client.waitForInstances({ timeoutMs: 10_000 })).toMatchObject([
      { namespace: 'kube', component: 'plain', endpoint: 'generate', transport: 'tcp' },
    ]);
    expect(await client.collect({ call: 1, items: 3 })).toEqual([0, 1, 2].map((index) => ({ call: 1, index })));

    setPod({ ...pod, ready: false });
    await none(client);
    await expect(client.collect({ call: 2, items: 1 })).rejects.toMatchObject({
      code: 'DYN_UNAVAILABLE',
      retryable: true,
    });
    setPod({ ...pod, ready: true });
    await client.waitForInstances({ timeoutMs: 10_000 });

    worker.kill('SIGTERM');
    await none(client);
    expect(await worker.exit()).toMatchObject({ code: 0, signal: null });
    expect(endpointsOf(metadataOf(pod.name))).toEqual([]);
    standIn.removePod(pod.name);
  });

  it('removes a killed worker with its pod', { timeout: 60_000 }, async () => {
    const pod = { name: 'worker-1', uid: 'uid-of-worker-1' };
    const worker = await workerIn(pod, 'kube.killed.generate');
    setPod({ ...pod, ready: true });
    const client = await clientOf('kube.killed.generate');
    await client.waitForInstances({ timeoutMs: 10_000 });
    worker.kill('SIGKILL');
    await worker.exit();
    expect(client.instances()).toHaveLength(1);
    await expect(client.collect({ call: 1, items: 1 })).rejects.toMatchObject({ code: 'DYN_UNAVAILABLE' });
    standIn.removePod(pod.name);
    await none(client);
    expect(standIn.workers.has(metadataOf(pod.name))).toBe(false);
  });

  it('finds workers that started while the server had ended the watches', { timeout: 60_000 }, async () => {
    const client = await clientOf('kube.late.generate');
    standIn.cutWatches();
    const pod = { name: 'worker-2', uid: 'uid-of-worker-2' };
    await workerIn(pod, 'kube.late.generate');
    setPod({ ...pod, ready: true });
    await client.waitForInstances({ timeoutMs: 30_000 });
    expect(await client.collect({ call: 1, items: 1 })).toEqual([{ call: 1, index: 0 }]);
    standIn.removePod(pod.name);
  });

  it('fails to serve if the server rejects writes, and Dynamo logs the reason', async () => {
    const runtime = await runtimeHere();
    standIn.forbidden.add('PATCH');
    const serving = runtime.endpoint('kube.refused.generate').serve(() => 1);
    await expect(serving).rejects.toMatchObject({
      name: 'DynamoError',
      message: expect.stringContaining('Unable to register service'),
    });
    standIn.forbidden.clear();
    await (await runtime.endpoint('kube.refused.generate').serve(() => 1)).close();
  });
}
