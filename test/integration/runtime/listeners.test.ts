import { DistributedRuntime, Frontend } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';

import { kernelAddress, listening } from '../../helpers/listening.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';

/** One of loopback's addresses that nothing uses by default. */
const HOST = '127.0.0.7';

describe('the option host', () => {
  it('is the address of every listener: requests, responses, events, status, HTTP and gRPC', async () => {
    const discovery = { kind: 'file', dir: temporaryFolder() } as const;
    const options = { discovery, host: HOST } as const;
    const before = listening();
    const runtime = await DistributedRuntime.create({ ...options, systemPort: 0 });
    onTestFinished(() => runtime.close({ timeoutMs: 5000 }));
    const endpoint = runtime.endpoint<null, string>('listeners.worker.generate');
    await endpoint.serve(() => 'here');
    const events = runtime.namespace('listeners');
    const publisher = await events.publisher<number>('load');
    onTestFinished(() => publisher.close());
    const http = await Frontend.start(options, { port: 0 });
    onTestFinished(() => http.close({ timeoutMs: 5000 }));
    const grpc = await Frontend.start(options, { input: 'grpc', port: 0, metricsPort: 0 });
    onTestFinished(() => grpc.close({ timeoutMs: 5000 }));
    await Promise.all([http.ready, grpc.ready]);
    const client = await endpoint.client();
    await client.waitForInstances({ timeoutMs: 30_000 });
    expect(await client.unary(null)).toBe('here');
    expect((await fetch(`${http.url}/live`)).status).toBe(200);
    expect(http.url).toContain(HOST);
    expect(runtime.systemAddress).toContain(HOST);

    const found = listening().filter((each) => !before.includes(each));
    // Requests, responses, events, the status server, and the frontends' ports.
    expect(found.length).toBeGreaterThanOrEqual(7);
    expect(found.map((each) => each.split(':')[0])).toEqual(found.map(() => kernelAddress(HOST)));
  });
});
