import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { KubernetesApi } from '../../lib/deploy/kubernetes/api.js';
import { Deployments } from '../../lib/deploy/kubernetes/deployments.js';
import { manifestOf } from '../../lib/deploy/kubernetes/manifest.js';
import { KubernetesScaler } from '../../lib/deploy/kubernetes/scaler.js';
import { GRAPHS } from '../helpers/deploy/graphs.js';
import { KubernetesServer, kubernetesMissing } from '../helpers/deploy/kubernetes-server.js';

const COLLECTION = '/apis/nvidia.com/v1beta1/namespaces/default/dynamographdeployments';
const ADAPTERS = COLLECTION.replace('deployments', 'deploymentscalingadapters');
const { signal } = new AbortController();

let server: KubernetesServer;

beforeAll(async () => {
  if (kubernetesMissing !== undefined) throw new Error(kubernetesMissing);
  server = await KubernetesServer.start();
});
afterAll(() => server?.stop());

/** A deployment whose planner scales prefill, without an adapter, and decode, with one. */
async function deployed(name: string, hasAdapter = true) {
  const deployments = new Deployments(
    await KubernetesApi.fromConfig({ kubeconfig: server.kubeconfig(), namespace: 'default', env: {} }),
  );
  const options = { name, image: 'registry.example/g:1', runtimeVersion: '1.6.1', scaled: ['Decode'] };
  await deployments.apply(manifestOf(GRAPHS.planned, options));
  const kind = { apiVersion: 'nvidia.com/v1beta1', kind: 'DynamoGraphDeploymentScalingAdapter' };
  if (hasAdapter)
    await server.call('POST', ADAPTERS, { ...kind, metadata: { name: `${name}-decode` }, spec: { replicas: 2 } });
  const scaler = () =>
    new KubernetesScaler({ deployments, name, components: { prefill: 'Prefill', decode: 'Decode' } });
  return { deployments, scaler };
}

/** What another program does. */
async function setAdapter(name: string, replicas: number): Promise<void> {
  const path = `${ADAPTERS}/${name}/scale`;
  const { status, text } = await server.call('PATCH', path, { spec: { replicas } }, 'application/merge-patch+json');
  if (status !== 200) throw new Error(text);
}

describe('a KubernetesScaler and a real API server', () => {
  it('returns the counts that were set, and those that the operator reports as ready', async () => {
    const { scaler } = await deployed('counted');
    await setAdapter('counted-decode', 5);
    const status = { components: { Decode: { replicas: 5, readyReplicas: 3 } } };
    await server.call('PATCH', `${COLLECTION}/counted/status`, { status }, 'application/merge-patch+json');
    expect(await scaler().current({ signal })).toEqual({
      prefill: { desired: 1, ready: 0 },
      decode: { desired: 5, ready: 3 },
    });
  });

  it('scales through the adapter, and the component without one', async () => {
    const { deployments, scaler } = await deployed('scaled');
    const planner = scaler();
    await planner.current({ signal });
    await planner.scale({ prefill: 4, decode: 6 }, { signal });
    expect(await planner.current({ signal })).toMatchObject({ prefill: { desired: 4 }, decode: { desired: 6 } });
    const { components } = (await deployments.get('scaled')).spec;
    expect(components.find(({ name }) => name === 'Decode')?.replicas).toBe(2);
    await planner.scale({ prefill: 3 }, { signal });
    expect(await planner.current({ signal })).toMatchObject({ prefill: { desired: 3 }, decode: { desired: 6 } });
  });

  it('scales the component if the operator has made no adapter', async () => {
    const { scaler } = await deployed('bare', false);
    await scaler().scale({ decode: 7 }, { signal });
    expect(await scaler().current({ signal })).toMatchObject({ decode: { desired: 7 } });
  });

  it('leaves counts that another planner has set since it looked', async () => {
    const { scaler } = await deployed('shared');
    const [first, second] = [scaler(), scaler()];
    await Promise.all([first.current({ signal }), second.current({ signal })]);
    await first.scale({ prefill: 4, decode: 6 }, { signal });
    await expect(second.scale({ decode: 9 }, { signal })).rejects.toMatchObject({ code: 'E_KUBERNETES_CONFLICT' });
    await expect(second.scale({ prefill: 9 }, { signal })).rejects.toMatchObject({ code: 'E_KUBERNETES_INVALID' });
    expect(await second.current({ signal })).toMatchObject({ prefill: { desired: 4 }, decode: { desired: 6 } });
    await second.scale({ prefill: 2, decode: 3 }, { signal });
    expect(await first.current({ signal })).toMatchObject({ prefill: { desired: 2 }, decode: { desired: 3 } });
  });

  it('rejects a component that the deployment does not have', async () => {
    const { deployments } = await deployed('other');
    const scaler = new KubernetesScaler({ deployments, name: 'other', components: { worker: 'Worker' } });
    await expect(scaler.current({ signal })).rejects.toMatchObject({ code: 'E_NO_COMPONENT' });
  });
});
