import { join } from 'node:path';
import { Readable } from 'node:stream';

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
  const items = await runtime.endpoint<number, number>('files.worker.items').client();
  await items.waitForInstances();
  const echo = () => items.bidirectional(Readable.from([1, 2])).collect();
  return { worker, client, echo, ready };
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

  it('refuses calls retryably while its program uses every file descriptor', async () => {
    const { worker, client, echo } = await start();
    expect([await client.unary({ waitMs: 1 }), await echo()]).toEqual([1, [1, 2]]);
    worker.send({ do: 'fill' });
    await worker.event('fill');
    const ends = await within(
      60_000,
      'the refusals',
      Promise.all(
        Array.from({ length: 40 }, async (_, index) => {
          try {
            await (index % 4 === 0 ? echo() : client.unary({ waitMs: 1 }));
            return { code: 'answered', retryable: true };
          } catch (error) {
            const { code, retryable } = error as DynamoError;
            return { code, retryable };
          }
        }),
      ),
      () => 'a caller waits for ever',
    );
    expect(ends.filter(({ retryable }) => !retryable)).toEqual([]);
    expect(ends).toContainEqual({ code: 'DYN_CAPACITY_EXHAUSTED', retryable: true });
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
