import { describe, expect, it, onTestFinished } from 'vitest';

import { Child } from '../../helpers/child.js';
import { temporaryFolder, testRuntime } from '../../helpers/runtime/runtime.js';
import type { NumbersItem, NumbersRequest } from '../../helpers/runtime/worker-protocol.js';

const path = 'inhibited.worker.generate';
const CALLS = 20;

function program(name: string, ...args: string[]): Child {
  const child = Child.program(`test/helpers/runtime/programs/${name}.ts`, args);
  onTestFinished(() => child.stop());
  return child;
}

describe('an instance that failed', () => {
  it('is avoided for inhibitedSeconds, or called again at once if they are 0', async () => {
    const discovery = { kind: 'file', dir: temporaryFolder() } as const;
    const runtime = await testRuntime({ discovery });
    await runtime.endpoint<NumbersRequest, NumbersItem>(path).serve(({ call }) => ({ call, index: 0 }));
    const doomed = program('worker', JSON.stringify({ path, runtime: { discovery, host: '127.0.0.1' } }));
    const callers = [0, 600].map((inhibitedSeconds) =>
      program('passed-over', JSON.stringify({ discovery, host: '127.0.0.1', inhibitedSeconds }), path, String(CALLS)),
    );
    await Promise.all([doomed, ...callers].map((child) => child.event('ready', {}, 60_000)));
    // A killed instance stays in discovery until its lease expires.
    doomed.kill('SIGKILL');
    await doomed.exit();
    for (const caller of callers) caller.send({});
    const [never = [], long = []] = (
      await Promise.all(callers.map((caller) => caller.event('called', {}, 60_000)))
    ).map(({ codes }) => codes as string[]);
    expect(new Set([...never, ...long])).toEqual(new Set(['DYN_UNAVAILABLE']));
    expect(never.length).toBeGreaterThan(4);
    expect(long.length).toBeLessThan(3);
  });
});
