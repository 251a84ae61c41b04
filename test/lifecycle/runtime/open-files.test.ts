import { join } from 'node:path';

import type { DynamoError } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';

import { Child, type ChildEvent } from '../../helpers/child.js';
import { root } from '../../helpers/project.js';
import { temporaryFolder, testRuntime } from '../../helpers/runtime/runtime.js';
import { waitFor, within } from '../../helpers/wait.js';

const LIMIT = 120;
const PATH = 'files.worker.wait';
/** The number of requests that run at a time under this limit, and of those that wait for them. */
const [RUNNING, WAITING] = [28, 1024];

/** A worker that may open `LIMIT` files, and a caller that may open many. */
async function start() {
  const folder = temporaryFolder();
  const program = join(root, 'test/helpers/runtime/programs/few-files.ts');
  const run = `ulimit -n ${LIMIT}; exec "$0" --import tsx "$@"`;
  const worker = Child.start('sh', ['-c', run, process.execPath, program, folder, PATH]);
  onTestFinished(() => worker.stop());
  const ready = (await worker.event('ready')) as ChildEvent & { systemAddress: string; limit: number; used: number };
  expect(ready.limit).toBe(LIMIT);
  const runtime = await testRuntime({ discovery: { kind: 'file', dir: folder } });
  const client = await runtime.endpoint<{ waitMs: number }, number>(PATH).client();
  await client.waitForInstances();
  return { worker, client, ready };
}

describe(`a worker that may open ${LIMIT} files`, () => {
  it('answers 400 concurrent calls', async () => {
    const { client } = await start();
    const waitMs = 100;
    const answers = await within(
      60_000,
      'the answers',
      Promise.all(Array.from({ length: 400 }, () => client.unary({ waitMs }))),
      () => 'a caller waits for ever',
    );
    expect(answers).toEqual(Array.from({ length: 400 }, () => waitMs));
  });

  it('refuses calls retryably that neither run nor wait', async () => {
    const { client } = await start();
    const more = 20;
    const left = new AbortController();
    const refused: DynamoError[] = [];
    const calls = Array.from({ length: RUNNING + WAITING + 1 + more }, () =>
      client
        .unary({ waitMs: 2 ** 30 }, { signal: left.signal })
        .catch((error: DynamoError) => left.signal.aborted || refused.push(error)),
    );
    // The dispatcher may hold one request more.
    await waitFor(
      'the refusals',
      () => refused.length,
      (count) => count >= more,
      5000,
    );
    expect(refused.length).toBeLessThanOrEqual(more + 1);
    for (const { code, retryable } of refused)
      expect({ code, retryable }).toEqual({ code: 'DYN_CAPACITY_EXHAUSTED', retryable: true });
    left.abort();
    await Promise.all(calls);
  });

  it('says that it is not ready while few file descriptors are left', async () => {
    const { worker, ready } = await start();
    const health = async (): Promise<number> => {
      const { status } = await fetch(`http://${ready.systemAddress}/health`, { headers: { connection: 'close' } });
      return status;
    };
    expect(await health()).toBe(200);
    const count = LIMIT - ready.used - 8;
    worker.send({ do: 'open', count });
    await worker.event('open');
    await expect.poll(health).toBe(503);
    expect(worker.output).toContain('DYN_OPEN_FILES');
    worker.send({ do: 'close', count });
    await worker.event('close');
    await expect.poll(health).toBe(200);
  });
});
