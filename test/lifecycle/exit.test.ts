import type { DistributedRuntime } from 'dynamo-node';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';

import { Child } from '../helpers/child.js';
import { temporaryFolder, testRuntime } from '../helpers/runtime.js';
import { waitFor } from '../helpers/wait.js';

const MOST_MS = 1000;

let folder: string;
let runtime: DistributedRuntime;
let answer: (value: number) => void;
/** Calls of the endpoint that answers when the test lets it. */
let waiting: number;

beforeEach(async () => {
  folder = temporaryFolder();
  waiting = 0;
  runtime = await testRuntime({ discovery: { kind: 'file', dir: folder } });
  await runtime.endpoint<number, number>('exit.test.numbers').serve(async function* (count) {
    for (let index = 0; index < count; index++) yield index;
  });
  const answered = new Promise<number>((resolve) => (answer = resolve));
  await runtime.endpoint<number, number>('exit.test.silent').serve(() => {
    waiting += 1;
    return answered;
  });
});

function leave(what: string): Child {
  const child = Child.program('test/lifecycle/programs/exit.ts', [what, folder]);
  onTestFinished(() => child.stop());
  return child;
}

/** Waits for the end of a process that has nothing left to do, and gives how it ended. */
async function end(child: Child): Promise<unknown> {
  const { at } = await child.event('done');
  const { code, signal, at: endedAt } = await child.exit();
  expect(endedAt - (at as number), `milliseconds to its end; it printed ${child.output}`).toBeLessThan(MOST_MS);
  return { code, signal };
}

describe('a process ends by itself within a second', () => {
  it.each([
    'import',
    'closed',
    'closed-runtime',
    'runtime',
    'client',
    'unread-stream',
    'idle-watch',
    'idle-subscription',
    'publisher',
    'log',
    'metrics',
  ])('with this behind it: %s', async (what) => {
    expect(await end(leave(what))).toEqual({ code: 0, signal: null });
  });

  it('by process.exit with streams and endpoints open, with its code', async () => {
    expect(await end(leave('process.exit'))).toEqual({ code: 7, signal: null });
  });

  it('by an error that nobody catches, with the code of Node', async () => {
    const child = leave('throw');
    expect(await end(child)).toEqual({ code: 1, signal: null });
    expect(child.output).toContain('not caught');
  });
});

describe('a process stays as long as it waits for something', () => {
  it('for the answer to a call', async () => {
    const child = leave('waiting-call');
    await child.event('waiting');
    await waitFor('the call to arrive', () => waiting, (count) => count === 1);
    answer(5);
    expect(await child.event('answered')).toMatchObject({ answer: 5 });
    expect(await end(child)).toEqual({ code: 0, signal: null });
  });

  it('for an event', async () => {
    const child = leave('waiting-subscription');
    await child.event('waiting');
    await using publisher = await runtime.namespace('exit').publisher<number>('topic');
    await waitFor(
      'the event to arrive',
      async () => {
        await publisher.publish(6);
        return child.events.find(({ event }) => event === 'answered');
      },
      (event) => event?.['answer'] === 6,
    );
    expect(await end(child)).toEqual({ code: 0, signal: null });
  });

  it('for the calls of an endpoint that it serves', async () => {
    const child = leave('served');
    await child.event('serving');
    const client = await runtime.endpoint<number, number>('exit.child.served').client();
    await client.waitForInstances({ timeoutMs: 10_000 });
    for (let value = 0; value < 100; value++) expect(await client.unary(value)).toBe(value);
    child.kill('SIGTERM');
    expect(await child.exit()).toMatchObject({ code: null, signal: 'SIGTERM' });
  });
});

it('a process that ends without a close leaves discovery', async () => {
  const child = leave('process.exit');
  await child.exit();
  const ours = (): Promise<number> => runtime.instances().then((all) => all.filter(({ component }) => component === 'child').length);
  await waitFor('the instances of the process that ended', ours, (count) => count === 0, 20_000);
});
