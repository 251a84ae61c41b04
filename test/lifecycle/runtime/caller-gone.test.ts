import type { Socket } from 'node:net';
import { setTimeout as after } from 'node:timers/promises';

import { describe, expect, it, onTestFinished } from 'vitest';

import { type Frame, RawCaller } from '../../helpers/runtime/raw-caller.js';
import { testRuntime } from '../../helpers/runtime/runtime.js';
import { waitFor } from '../../helpers/wait.js';

/** The worker's `SILENCE`. A closed connection is found after one to three of it. */
const SILENCE_MS = 5000;
const REQUESTS = 32;

type React = (frame: Frame, number: number, socket: Socket) => void;

const leaves: readonly (readonly [string, React])[] = [
  ['resets the connection before the worker says that it accepted', (_, __, socket) => socket.resetAndDestroy()],
  ['closes the connection after the worker said so', (_, number, socket) => number === 1 && socket.end().destroy()],
];

describe('a handler that sends nothing', () => {
  it.concurrent.each(leaves)('is stopped within three checks if its caller %s', async (_, react) => {
    const runtime = await testRuntime();
    const count = { started: 0, stopped: 0 };
    const { instance } = await runtime.endpoint('gone.worker.wait').serve(async (_request: unknown, { signal }) => {
      count.started += 1;
      await after(2 ** 30, undefined, { signal }).catch(() => {});
      count.stopped += 1;
    });
    const caller = await RawCaller.listen(react);
    onTestFinished(() => caller.close());
    await Promise.all(Array.from({ length: REQUESTS }, (_, index) => caller.send(instance.address, { index })));
    await waitFor(
      'the handlers have stopped',
      () => ({ ...count }),
      ({ started, stopped }) => started === REQUESTS && stopped === REQUESTS,
      6 * SILENCE_MS,
    );
    await runtime.close();
  });

  it.concurrent('goes on as long as its caller stays, which gets an empty frame at each check', async () => {
    const runtime = await testRuntime();
    const endpoint = runtime.endpoint<{ waitMs: number }, { aborted: boolean }>('gone.worker.late');
    const { instance } = await endpoint.serve(async ({ waitMs }, { signal }) => {
      await after(waitMs);
      return { aborted: signal.aborted };
    });
    const seen: Frame[] = [];
    const caller = await RawCaller.listen((frame) => seen.push(frame));
    onTestFinished(() => caller.close());
    const client = await endpoint.client();
    await client.waitForInstances();

    const waitMs = 2.5 * SILENCE_MS;
    await Promise.all([
      caller.send(instance.address, { waitMs }),
      expect(client.unary({ waitMs })).resolves.toEqual({ aborted: false }),
      waitFor('the answer to the raw caller', () => seen.some(({ data }) => data.includes('aborted'))),
    ]);
    expect(seen.filter(({ header, data }) => header === '' && data.length === 0)).toHaveLength(2);
    await runtime.close();
  });
});
