import { Planner } from 'dynamo-node/planner';
import { describe, expect, it, onTestFinished } from 'vitest';
import { KubernetesApi } from '../../../lib/deploy/kubernetes/api.js';
import { Deployments } from '../../../lib/deploy/kubernetes/deployments.js';
import { KubernetesScaler } from '../../../lib/deploy/kubernetes/scaler.js';
import { ApiStandIn, failure, type ReceivedRequest, type Reply } from '../../helpers/deploy/api-stand-in.js';
import { waitFor } from '../../helpers/wait.js';

const ok = (body: object): Reply => ({ status: 200, body });

const DEPLOYMENT = {
  metadata: { name: 'agg' },
  spec: { components: [{ name: 'Worker', type: 'worker', replicas: 1, scalingAdapter: {} }] },
  status: { components: { Worker: { readyReplicas: 1 } } },
};

const isScale = ({ path }: ReceivedRequest): boolean => path.endsWith('/agg-worker/scale');

/** A planner that wants more workers, on an API server that answers in this way. */
async function planning(answer: (request: ReceivedRequest) => Reply, timeoutMs = 10_000) {
  const api = await ApiStandIn.start(answer);
  onTestFinished(() => api[Symbol.asyncDispose]());
  const cluster = await KubernetesApi.fromConfig({ kubeconfig: api.kubeconfig, env: {} });
  const scaler = new KubernetesScaler({
    deployments: new Deployments(cluster),
    name: 'agg',
    components: { worker: 'Worker' },
  });
  const errors: string[][] = [];
  const load = { queuedPrefillTokens: 0, queuedRequests: 0, queuedKvTokens: 0, decodeRequests: 1, kvTokens: 1000 };
  const planner = Planner.start({
    observer: { observe: () => ({ workers: { worker: [{ id: 'a', ageMs: 0, load, passes: [] }] } }) },
    scaler,
    config: { objective: 'throughput', intervalMs: 100, pools: { worker: { kvTokens: 1000, maxWorkers: 3 } } },
    timeoutMs,
    onDecision: (record) => errors.push([...record.errors]),
  });
  onTestFinished(() => planner.close());
  return { errors, received: api.received };
}

describe('a planner on Kubernetes', () => {
  it('scales the adapter, with the version that it has seen', async () => {
    const scale = { metadata: { resourceVersion: '41' }, spec: { replicas: 1 } };
    const { received } = await planning((request) => ok(isScale(request) ? scale : DEPLOYMENT));
    const patch = await waitFor('the patch', () => received.find(({ method }) => method === 'PATCH'));
    expect(patch?.path).toMatch(/\/namespaces\/team\/dynamographdeploymentscalingadapters\/agg-worker\/scale$/);
    expect(patch?.type).toBe('application/merge-patch+json');
    expect(patch?.body).toEqual({ metadata: { resourceVersion: '41' }, spec: { replicas: 2 } });
  });

  it.each<[string, (request: ReceivedRequest) => Reply, string, timeoutMs?: number]>([
    ['the deployment is gone', () => failure(404, 'NotFound', 'gone'), "current: Deployment 'agg' not found."],
    ['the cluster denies access', () => failure(403, 'Forbidden', 'no rights'), 'current: no rights'],
    ['the server hangs', () => 'never', 'current: current has not answered within 200 ms', 200],
    [
      'another program changes the count in between',
      (request) =>
        request.method === 'PATCH'
          ? failure(409, 'Conflict', 'the object has been modified')
          : ok(isScale(request) ? { metadata: { resourceVersion: '1' }, spec: { replicas: 1 } } : DEPLOYMENT),
      'scale: the object has been modified',
    ],
  ])('records the error and tries again if %s', async (_, answer, message, timeoutMs) => {
    const { errors } = await planning(answer, timeoutMs);
    const found = await waitFor(
      'two errors',
      () => errors.filter((all) => all.length > 0),
      (all) => all.length >= 2,
    );
    expect(found[0]).toEqual([message]);
    expect(found[1]).toEqual([message]);
  });
});
