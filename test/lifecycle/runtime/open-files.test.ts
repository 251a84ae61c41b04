import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as after } from 'node:timers/promises';

import type { DynamoError } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';

import { Child, type ChildEvent } from '../../helpers/child.js';
import { root } from '../../helpers/project.js';
import { temporaryFolder, testRuntime } from '../../helpers/runtime/runtime.js';
import { waitFor, within } from '../../helpers/wait.js';

const LIMIT = 120;
const PATH = 'files.worker.wait';
const ENGINE = 'files.engine.generate';
/** The number of requests that run at a time under this limit, and of those that wait for them. */
const [RUNNING, WAITING] = [28, 1024];

/** A worker that may open `LIMIT` files, and a caller that may open many. The worker may also serve an engine. */
async function start(enginePath?: string) {
  const folder = temporaryFolder();
  const program = join(root, 'test/helpers/runtime/programs/few-files.ts');
  const run = `ulimit -n ${LIMIT}; exec "$0" --import tsx "$@"`;
  const paths = enginePath === undefined ? [PATH] : [PATH, enginePath];
  const worker = Child.start('sh', ['-c', run, process.execPath, program, folder, ...paths]);
  onTestFinished(() => worker.stop());
  const ready = (await worker.event('ready')) as ChildEvent & { systemAddress: string; limit: number; used: number };
  expect(ready.limit).toBe(LIMIT);
  const runtime = await testRuntime({ discovery: { kind: 'file', dir: folder } });
  const client = await runtime.endpoint<{ waitMs: number }, number>(PATH).client();
  await client.waitForInstances();
  const items = await runtime.endpoint<number, number>('files.worker.items').client();
  await items.waitForInstances();
  const echo = () => items.bidirectional(Readable.from([1, 2])).collect();
  const order = async (command: 'fill' | 'close', count = LIMIT): Promise<void> => {
    worker.send({ do: command, count });
    await worker.event(command);
  };
  return { worker, client, echo, ready, folder, runtime, order };
}

/** How a call ends: `answered`, or with the code of its error. */
const endOf = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => 'answered',
    ({ code, retryable }: DynamoError) => `${code}${retryable ? '' : ', not retryable'}`,
  );

const endsOf = (ends: readonly Promise<string>[]): Promise<string[]> =>
  within(60_000, 'the end of each call', Promise.all(ends), () => 'a caller waits for ever');

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
    );
    expect(refused.length).toBeLessThanOrEqual(more + 1);
    for (const { code, retryable } of refused)
      expect({ code, retryable }).toEqual({ code: 'DYN_CAPACITY_EXHAUSTED', retryable: true });
    left.abort();
    await Promise.all(calls);
  });

  it('refuses calls retryably while its program uses every file descriptor', async () => {
    const { client, echo, order } = await start();
    expect([await client.unary({ waitMs: 1 }), await echo()]).toEqual([1, [1, 2]]);
    await order('fill');
    const calls = Array.from({ length: 40 }, (_, index) => (index % 4 === 0 ? echo() : client.unary({ waitMs: 1 })));
    const ends = await endsOf(calls.map(endOf));
    expect(ends).toContain('DYN_CAPACITY_EXHAUSTED');
    expect(ends.filter((end) => end.includes('not retryable'))).toEqual([]);
  });

  it('answers or refuses each call while descriptors become free and are used again', async () => {
    const { client, echo, order } = await start();
    expect([await client.unary({ waitMs: 1 }), await echo()]).toEqual([1, [1, 2]]);
    const all: Promise<string>[] = [];
    for (let round = 0; round < 8; round++) {
      await order('fill');
      const calls = Array.from({ length: 40 }, (_, index) =>
        endOf(index % 4 === 0 ? echo() : client.unary({ waitMs: 20 * (index % 3) })),
      );
      all.push(...calls);
      // A request is tried again for half a second. A refusal may wait for a descriptor that `fill` has taken.
      await Promise.race([...calls, after(1000)]);
      // Fewer than the calls need.
      await order('close', 6);
    }
    await order('close');
    const ends = await endsOf(all);
    expect(ends.filter((end) => end.includes('not retryable'))).toEqual([]);
    expect(ends).toContain('answered');
    // The caller avoids a worker for a while that did not accept its connection.
    const more = () => Promise.all([client.unary({ waitMs: 1 }), echo()].map(endOf));
    await expect.poll(more, { timeout: 20_000 }).toEqual(['answered', 'answered']);
  });

  it('answers calls of an engine that came while no descriptor was free', async () => {
    const { worker, runtime, order } = await start(ENGINE);
    const client = await runtime.endpoint<unknown, string>(ENGINE).client();
    await client.waitForInstances();
    expect(await client.unary({})).toBe('answered');
    await order('fill');
    const calls = Array.from({ length: 20 }, () => endOf(client.unary({})));
    // It notices this only every two seconds. By then it has tried to connect to the callers.
    await expect.poll(() => worker.output).toContain('DYN_OPEN_FILES');
    await order('close');
    expect(new Set(await endsOf(calls))).toEqual(new Set(['answered']));
  });

  it('renews its files of discovery while its program uses every file descriptor', async () => {
    const { client, folder, order } = await start();
    await order('fill');
    const files = join(folder, 'v1/instances');
    const oldest = (): number => Math.min(...readdirSync(files).map((name) => statSync(join(files, name)).mtimeMs));
    const filled = Date.now();
    await waitFor('the renewal', oldest, (renewed) => renewed > filled + 1000, 30_000);
    expect(readdirSync(files)).toHaveLength(2);
    await order('close');
    expect(await client.unary({ waitMs: 1 })).toBe(1);
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
    await expect.poll(() => worker.output).toContain('DYN_OPEN_FILES');
    worker.send({ do: 'close', count });
    await worker.event('close');
    await expect.poll(health).toBe(200);
  });
});
