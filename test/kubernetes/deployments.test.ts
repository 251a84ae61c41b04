import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { KubernetesApi } from '../../lib/deploy/kubernetes/api.js';
import { Deployments } from '../../lib/deploy/kubernetes/deployments.js';
import { type DynamoGraphDeployment, manifestOf } from '../../lib/deploy/kubernetes/manifest.js';
import type { Readiness } from '../../lib/deploy/kubernetes/status.js';
import { GRAPHS } from '../helpers/deploy/graphs.js';
import { KubernetesServer, kubernetesMissing } from '../helpers/deploy/kubernetes-server.js';

const OPTIONS = { image: 'registry.example/g:1', runtimeVersion: '1.6.1' };
const COLLECTION = '/apis/nvidia.com/v1beta1/namespaces/default/dynamographdeployments';

let server: KubernetesServer;
let deployments: Deployments;

const connect = async (user: 'admin' | 'reader' = 'admin', namespace = 'default'): Promise<Deployments> => {
  const options = { kubeconfig: server.kubeconfig(user), namespace, env: {} };
  return new Deployments(await KubernetesApi.fromConfig(options));
};

beforeAll(async () => {
  if (kubernetesMissing !== undefined) throw new Error(kubernetesMissing);
  server = await KubernetesServer.start();
  deployments = await connect();
});
afterAll(() => server?.stop());

/** What another program writes to a deployment. */
async function change(name: string, patch: object, query = ''): Promise<void> {
  const answer = await server.call('PATCH', `${COLLECTION}/${name}${query}`, patch, 'application/merge-patch+json');
  if (answer.status !== 200) throw new Error(answer.text);
}

const replicasOf = ({ spec }: { readonly spec: DynamoGraphDeployment['spec'] }) =>
  Object.fromEntries(spec.components.map(({ name, replicas }) => [name, replicas]));

describe('a real API server', () => {
  it.each(Object.keys(GRAPHS) as (keyof typeof GRAPHS)[])(
    'stores the deployment of the graph %s as it is',
    async (name) => {
      const wanted = manifestOf(GRAPHS[name], { ...OPTIONS, name });
      const stored = await deployments.apply(wanted);
      expect(stored.spec).toEqual(wanted.spec);
      expect(stored.metadata).toMatchObject({ ...wanted.metadata, namespace: 'default', generation: 1 });
      expect((await deployments.apply(wanted)).metadata.generation).toBe(1);
      expect((await deployments.list()).map(({ metadata }) => metadata.name)).toContain(name);
    },
  );

  it('stores nothing in a dry run, but checks it', async () => {
    const wanted = manifestOf(GRAPHS.aggregated, { ...OPTIONS, name: 'dry' });
    expect((await deployments.apply(wanted, { dryRun: true })).spec).toEqual(wanted.spec);
    await expect(deployments.get('dry')).rejects.toMatchObject({ code: 'E_DEPLOYMENT_NOT_FOUND', exitCode: 66 });
    const wrong = { ...wanted, spec: { components: [{ ...wanted.spec.components[0], replicas: -1 }] } };
    await expect(deployments.apply(wrong as never, { dryRun: true })).rejects.toMatchObject({
      code: 'E_KUBERNETES_INVALID',
      exitCode: 65,
      fields: ['spec.components[0].replicas'],
    });
  });

  it('says which fields it refuses: a rule, an unknown field, a wrong type', async () => {
    const wanted = manifestOf(GRAPHS.aggregated, { ...OPTIONS, name: 'wrong' });
    const first = wanted.spec.components[0];
    const apply = (component: object) => deployments.apply({ ...wanted, spec: { components: [component] } } as never);
    const rejection = { code: 'E_KUBERNETES_INVALID', exitCode: 65 };
    await expect(apply({ ...first, type: 'wrker' })).rejects.toMatchObject({
      ...rejection,
      message: expect.stringMatching(/^Validation error:\n {2}spec\.components\[0\]\.type: Unsupported value: "wrker"/),
    });
    await expect(
      apply({ ...first, podTemplate: { spec: { containers: [{ name: 'x', image: 'i' }] } } }),
    ).rejects.toThrow('podTemplate must have a container named main');
    await expect(apply({ ...first, replcas: 1 })).rejects.toMatchObject({
      ...rejection,
      message: expect.stringMatching(/^Validation error: .*\.replcas: field not declared in schema/),
    });
    await expect(apply({ ...first, replicas: 'two' })).rejects.toMatchObject(rejection);
  });

  it('refuses to create what exists and to change what does not', async () => {
    const wanted = manifestOf(GRAPHS.aggregated, { ...OPTIONS, name: 'once' });
    await expect(deployments.apply(wanted, { exists: true })).rejects.toThrow("Deployment 'once' not found.");
    await deployments.apply(wanted, { exists: false });
    await expect(deployments.apply(wanted, { exists: false })).rejects.toMatchObject({
      message: "Cannot create deployment because deployment with name 'once' already exists.",
      exitCode: 73,
    });
    await deployments.delete('once');
    await expect(deployments.delete('once')).rejects.toThrow("Deployment 'once' not found.");
  });

  it('names the owner of a field in a conflict, and takes it over if it is forced to', async () => {
    const wanted = manifestOf(GRAPHS.aggregated, { ...OPTIONS, name: 'shared' });
    await deployments.apply(wanted);
    await change('shared', { spec: { env: [{ name: 'A', value: 'theirs' }] } }, '?fieldManager=ops');
    const changed = { ...wanted, spec: { ...wanted.spec, env: [{ name: 'A', value: 'ours' }] } };
    await expect(deployments.apply(changed)).rejects.toMatchObject({
      code: 'E_KUBERNETES_CONFLICT',
      exitCode: 1,
      message: expect.stringContaining('conflict with "ops"'),
      hint: expect.stringContaining('--force-conflicts'),
    });
    expect((await deployments.apply(changed, { force: true })).spec.env).toEqual([{ name: 'A', value: 'ours' }]);
  });

  it('keeps the number of pods of a component with a scaling adapter, and sets the others', async () => {
    const wanted = manifestOf(GRAPHS.planned, { ...OPTIONS, name: 'scaled' });
    await deployments.apply(wanted);
    const { components } = (await deployments.get('scaled')).spec;
    const scaled = components.map((one) => (one.name === 'Decode' ? { ...one, replicas: 7 } : one));
    await change('scaled', { spec: { components: scaled } }, '?fieldManager=planner');
    const more = wanted.spec.components.map((one) => ({ ...one, replicas: one.replicas + 1 }));
    const applied = await deployments.apply({ ...wanted, spec: { ...wanted.spec, components: more } });
    expect(replicasOf(applied)).toEqual({ Frontend: 2, Planner: 2, Decode: 7, Prefill: 1 });
  });

  it('scales a component, and one with a scaling adapter through the adapter', async () => {
    const name = 'sized';
    await deployments.apply(manifestOf(GRAPHS.planned, { ...OPTIONS, name, scaled: ['Decode'] }));
    const adapters = COLLECTION.replace('deployments', 'deploymentscalingadapters');
    const adapter = { apiVersion: 'nvidia.com/v1beta1', kind: 'DynamoGraphDeploymentScalingAdapter' };
    await server.call('POST', adapters, { ...adapter, metadata: { name: 'sized-decode' }, spec: { replicas: 2 } });
    await deployments.scale(name, { Prefill: 4, Decode: 5 });
    expect(replicasOf(await deployments.get(name))).toMatchObject({ Prefill: 4, Decode: 2 });
    expect(JSON.parse((await server.call('GET', `${adapters}/sized-decode`)).text).spec.replicas).toBe(5);
    await expect(deployments.scale(name, { Worker: 1 })).rejects.toMatchObject({
      message: "deployment sized has no component 'Worker'; its components are Frontend, Planner, Decode, Prefill",
      exitCode: 64,
    });
  });

  it('is waited for until the operator has seen the generation and is ready', async () => {
    const name = 'ready';
    await deployments.apply(manifestOf(GRAPHS.aggregated, { ...OPTIONS, name }));
    const seen: Readiness[] = [];
    const waiting = deployments.waitUntilReady(name, {
      timeoutMs: 30_000,
      pollMs: 20,
      onProgress: (readiness) => {
        seen.push(readiness);
        if (seen.length === 1) void report('False', { Worker: { replicas: 2, readyReplicas: 1 } });
        if (seen.length === 2) void report('True', { Worker: { replicas: 2, readyReplicas: 2 } });
      },
    });
    const report = (ready: string, components: object): Promise<void> => {
      const reason = ready === 'True' ? 'all_resources_are_ready' : 'pods_not_ready';
      const status = { observedGeneration: 1, conditions: [{ type: 'Ready', status: ready, reason }], components };
      return change(`${name}/status`, { status });
    };
    expect(await waiting).toEqual({ phase: 'ready', summary: 'Frontend 0/1, Worker 2/2' });
    expect(seen.map(({ summary }) => summary)).toEqual([
      'Frontend 0/1, Worker 0/2 (the operator has not seen it yet)',
      'Frontend 0/1, Worker 1/2 (pods_not_ready)',
      'Frontend 0/1, Worker 2/2',
    ]);
    await deployments.apply(manifestOf(GRAPHS.aggregated, { ...OPTIONS, name, env: { A: '1' } }));
    expect(await deployments.waitUntilReady(name, { timeoutMs: 0 })).toMatchObject({ phase: 'waiting' });
  });

  it('answers a user without rights with exit code 77, and lets him read', async () => {
    const reader = await connect('reader');
    await deployments.apply(manifestOf(GRAPHS.aggregated, { ...OPTIONS, name: 'theirs' }));
    expect((await reader.get('theirs')).metadata.name).toBe('theirs');
    await expect(reader.delete('theirs')).rejects.toMatchObject({
      code: 'E_KUBERNETES_FORBIDDEN',
      exitCode: 77,
      message: expect.stringContaining('User "reader" cannot delete resource "dynamographdeployments"'),
    });
  });

  it('reports a namespace that does not exist', async () => {
    const elsewhere = await connect('admin', 'nowhere');
    await expect(elsewhere.apply(manifestOf(GRAPHS.aggregated, { ...OPTIONS, name: 'lost' }))).rejects.toMatchObject({
      exitCode: 66,
      message: expect.stringContaining('namespaces "nowhere" not found'),
    });
  });
});
