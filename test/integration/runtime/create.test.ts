import { createServer, type Server } from 'node:net';

import { DistributedRuntime } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';

import { Child } from '../../helpers/child.js';
import { threadsNamed } from '../../helpers/nixl/process-resources.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';
import { waitFor } from '../../helpers/wait.js';

/** A server that accepts connections and never answers. */
async function silentServer(port: number): Promise<number> {
  const server: Server = createServer();
  await new Promise<void>((resolve, reject) => server.on('error', reject).listen(port, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return (server.address() as { port: number }).port;
}

describe('DistributedRuntime.create', () => {
  it('rejects a used port of the status server, leaves no runtime behind, and accepts another port', async () => {
    // The crates take ports up to 32767 for it, and those that the system chooses are higher.
    const first = 20_000 + (process.pid % 10_000);
    const tries = Array.from({ length: 100 }, (_, index) => first + index);
    let port = 0;
    for (const one of tries) if (port === 0) port = await silentServer(one).catch(() => 0);
    const status = {
      discovery: { kind: 'file', dir: temporaryFolder() },
      host: '127.0.0.1',
      systemHost: '127.0.0.1',
    } as const;
    const made = DistributedRuntime.create({ ...status, systemPort: port });
    await expect(made).rejects.toMatchObject({
      code: 'DYN_UNAVAILABLE',
      message: expect.stringContaining(`the status server cannot listen on port ${port} of 127.0.0.1`),
    });
    const other = await DistributedRuntime.create({ ...status, systemPort: 0 });
    expect(other.systemAddress).toMatch(/^127\.0\.0\.1:/);
    await other.close();
  });

  it('names a server that does not answer in a warning and in the error after connectTimeoutMs', async () => {
    const warnings: string[] = [];
    const note = (warning: Error): void =>
      void warnings.push(`${(warning as { code?: string }).code} ${warning.message}`);
    process.on('warning', note);
    onTestFinished(() => void process.off('warning', note));
    const startedAt = performance.now();
    const made = DistributedRuntime.create({
      discovery: { kind: 'etcd', endpoints: ['http://127.0.0.1:1'] },
      host: '127.0.0.1',
      connectTimeoutMs: 4000,
    });
    await expect(made).rejects.toMatchObject({
      code: 'DYN_UNAVAILABLE',
      retryable: true,
      message: expect.stringMatching(
        /no connection within 4000 ms to etcd at http:\S+:1; discovery: \{ kind: 'file', dir \} needs no server/,
      ),
    });
    expect(performance.now() - startedAt).toBeLessThan(15_000);
    expect(warnings).toEqual([
      expect.stringMatching(/^DYN_WAITING DistributedRuntime\.create waits for etcd at http:\/\/127\.0\.0\.1:1/),
    ]);
  });

  it('ends a watch with its runtime', async () => {
    const runtime = await DistributedRuntime.create({ discovery: { kind: 'mem' }, host: '127.0.0.1' });
    const client = await runtime.endpoint('create.worker.generate').client();
    const watch = client.watch();
    await watch.next();
    const last = watch.next();
    await runtime.close();
    expect(await last).toEqual({ done: true, value: undefined });
  });

  it('starts workerThreads native threads', async () => {
    const threads = async (workerThreads: number): Promise<() => number> => {
      const runtime = { discovery: { kind: 'mem' }, host: '127.0.0.1', workerThreads };
      const child = Child.program('test/helpers/runtime/programs/worker.ts', [
        JSON.stringify({ path: 'create.threads.generate', runtime }),
      ]);
      onTestFinished(() => child.stop());
      await child.event('ready');
      return () => threadsNamed('tokio', child.pid).length;
    };
    const [few, many] = [await threads(2), await threads(34)];
    // There are also threads for blocking calls, which start and end.
    await waitFor(
      'the threads',
      () => [few(), many()] as const,
      ([ofTwo, ofMany]) => ofTwo >= 2 && ofMany - ofTwo > 24 && ofMany - ofTwo < 40,
    );
  });
});
