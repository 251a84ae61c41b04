import type { DynamoError } from 'dynamo-node';
import { startCluster } from 'dynamo-node/testing';
import { expect, it } from 'vitest';
import { serversMissing } from '../../helpers/servers.js';
import { describeUnless } from '../../helpers/skipping.js';
import { waitFor } from '../../helpers/wait.js';

describeUnless(serversMissing('etcd', 'nats-server'), 'startCluster with etcd and NATS', () => {
  it('connects runtimes by real servers, and shows a paused NATS to callers', async (test) => {
    const cluster = await startCluster({ discovery: 'etcd', requestPlane: 'nats', test });
    expect(cluster.env).toMatchObject({
      DYN_DISCOVERY_BACKEND: 'etcd',
      ETCD_ENDPOINTS: cluster.etcd?.url,
      NATS_SERVER: cluster.nats?.url,
      DYN_REQUEST_PLANE: 'nats',
    });
    const [worker, caller] = [await cluster.runtime(), await cluster.runtime()];
    const { instance } = await worker.endpoint<string, string>('test.echo.generate').serve(async function* (text) {
      yield text;
    });
    expect(instance.transport).toBe('nats');
    const client = await caller.endpoint<string, string>('test.echo.generate').client();
    await client.waitForInstances({ timeoutMs: 10_000 });
    // A worker may be in discovery before its subscription has reached NATS: until then nothing answers.
    const first = () => client.unary('a').catch(({ code }: DynamoError) => code);
    await waitFor('a first answer', first, (result) => result !== 'DYN_UNAVAILABLE');
    expect(await client.unary('a')).toBe('a');
    cluster.nats?.pause();
    const answer = () => client.unary('b', { timeoutMs: 500 }).catch(({ code }: DynamoError) => code);
    await waitFor('a call that is not answered', answer, (result) => result === 'DYN_DEADLINE_EXCEEDED');
    cluster.nats?.resume();
    await waitFor('an answer after the pause', () => client.unary('c', { timeoutMs: 2000 }).catch(() => undefined));
    await expect(cluster.link('test.echo.generate')).rejects.toThrow('expected a cluster with discovery by files');
  });
});
