import { afterEach, describe, expect, it } from 'vitest';
import { DistributedRuntime } from '../../lib/index.js';

const VARIABLES = ['POD_NAME', 'POD_NAMESPACE', 'POD_UID', 'KUBERNETES_SERVICE_HOST', 'KUBECONFIG', 'HOME'];
const before = { ...process.env };
afterEach(() => {
  for (const name of VARIABLES) {
    if (before[name] === undefined) delete process.env[name];
    else process.env[name] = before[name];
  }
});

describe('discovery through Kubernetes', () => {
  it.each([
    ['POD_NAME', {}],
    ['POD_UID', { POD_NAME: 'worker-0' }],
    ['environment', { POD_NAME: 'worker-0', POD_UID: '1234' }],
  ])('names %s where this process is in no cluster', async (lacking, environment) => {
    for (const name of VARIABLES) delete process.env[name];
    Object.assign(process.env, environment);
    const made = DistributedRuntime.create({ discovery: { kind: 'kubernetes', mode: 'pod' }, host: '127.0.0.1' });
    await expect(made).rejects.toMatchObject({ code: 'DYN_UNAVAILABLE', reason: 'discovery.kubernetes', retryable: true });
    await expect(made).rejects.toThrow(lacking);
  });
});
