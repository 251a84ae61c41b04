import type { DistributedRuntime } from 'dynamo-node';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';

import { Child } from '../../helpers/child.js';
import { temporaryFolder, testRuntime } from '../../helpers/runtime/runtime.js';
import { lowest, waitFor } from '../../helpers/wait.js';

const MAX_TIMEOUT_MS = 1000;

let folder: string;
let runtime: DistributedRuntime;
let answer: (value: number) => void;
/** Calls of the endpoint that answers on command of the test. */
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

/**
 * Waits for the end of a process that has nothing left to do, and returns its exit. `before` is the time that it needs
 * until then.
 */
async function end(
  what: string,
  before: (child: Child) => Promise<void> = async () => {},
): Promise<{ code: number | null; signal: string | null; output: string }> {
  let ended = { code: null as number | null, signal: null as string | null, output: '' };
  const took = await lowest(MAX_TIMEOUT_MS, async () => {
    const child = leave(what);
    await before(child);
    const { at } = await child.event('done');
    const { code, signal, at: endedAt } = await child.exit();
    ended = { code, signal, output: child.output };
    return endedAt - (at as number);
  });
  expect(took, `milliseconds to its end; it printed ${ended.output}`).toBeLessThan(MAX_TIMEOUT_MS);
  return ended;
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
  ])('after: %s', async (what) => {
    expect(await end(what)).toMatchObject({ code: 0, signal: null });
  });

  it('after process.exit with open streams and endpoints, with its code', async () => {
    expect(await end('process.exit')).toMatchObject({ code: 7, signal: null });
  });

  it('after an uncaught error, with the code of Node.js', async () => {
    expect(await end('throw')).toMatchObject({ code: 1, signal: null, output: expect.stringContaining('not caught') });
  });
});

describe('a process stays alive while it waits', () => {
  it('for the answer to a call', async () => {
    const called = async (child: Child): Promise<void> => {
      await child.event('waiting');
      await waitFor(
        'the call to arrive',
        () => waiting,
        (count) => count > 0,
      );
      answer(5);
      expect(await child.event('answered')).toMatchObject({ answer: 5 });
    };
    expect(await end('waiting-call', called)).toMatchObject({ code: 0, signal: null });
  });

  it('for an event', async () => {
    const published = async (child: Child): Promise<void> => {
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
    };
    expect(await end('waiting-subscription', published)).toMatchObject({ code: 0, signal: null });
  });

  it('for the calls of an endpoint that it serves', async () => {
    const child = leave('served');
    await child.event('serving');
    const client = await runtime.endpoint<number, number>('exit.child.served').client();
    await client.waitForInstances({ timeoutMs: 30_000 });
    for (let value = 0; value < 100; value++) expect(await client.unary(value)).toBe(value);
    child.kill('SIGTERM');
    expect(await child.exit()).toMatchObject({ code: null, signal: 'SIGTERM' });
  });
});

describe('a process', () => {
  it('leaves discovery if it ends without a close', async () => {
    const child = leave('process.exit');
    await child.exit();
    const ours = (): Promise<number> =>
      runtime.instances().then((all) => all.filter(({ component }) => component === 'child').length);
    await waitFor('the instances of the process that ended', ours, (count) => count === 0, 20_000);
  });
});
