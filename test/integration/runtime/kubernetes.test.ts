import { DistributedRuntime } from 'dynamo-node';
import { afterEach, describe, expect, it } from 'vitest';
import { describeKubernetes } from '../../helpers/runtime/kubernetes-discovery.js';

const VARIABLES = ['POD_NAME', 'POD_NAMESPACE', 'POD_UID', 'KUBERNETES_SERVICE_HOST', 'KUBECONFIG', 'HOME'];
const before = { ...process.env };

describe('discovery through Kubernetes', () => {
  afterEach(() => {
    for (const name of VARIABLES) {
      if (before[name] === undefined) delete process.env[name];
      else process.env[name] = before[name];
    }
  });

  it.each([
    ['POD_NAME', {}],
    ['POD_UID', { POD_NAME: 'worker-0' }],
    ['environment', { POD_NAME: 'worker-0', POD_UID: '1234' }],
  ])('names %s if this process is not in a cluster', async (lacking, environment) => {
    for (const name of VARIABLES) delete process.env[name];
    Object.assign(process.env, environment);
    const made = DistributedRuntime.create({ discovery: { kind: 'kubernetes', mode: 'pod' }, host: '127.0.0.1' });
    await expect(made).rejects.toMatchObject({
      code: 'DYN_UNAVAILABLE',
      reason: 'discovery.kubernetes',
      retryable: true,
    });
    await expect(made).rejects.toThrow(lacking);
  });
});

describe('discovery through a mock API server of Kubernetes', () => describeKubernetes('pod'));
