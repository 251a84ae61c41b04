import { setImmediate as turn } from 'node:timers/promises';

import { describe, expect, it, onTestFinished } from 'vitest';

import { Child } from '../../helpers/child.js';
import { temporaryFolder, testRuntime } from '../../helpers/runtime/runtime.js';
import type { NumbersItem, NumbersRequest } from '../../helpers/runtime/worker-protocol.js';

const CALLS = 2000;
const LANES = 16;
const MAX_TURNS = 20;

describe('calls cancelled at any point of their start', () => {
  it.each(['killed', 'stopped'] as const)(`leave no handler running if they are %s: ${CALLS}`, async (how) => {
    const folder = temporaryFolder();
    const path = 'abandon.worker.generate';
    const options = { path, runtime: { discovery: { kind: 'file', dir: folder }, host: '127.0.0.1' } };
    const worker = Child.program('test/helpers/runtime/programs/worker.ts', [JSON.stringify(options)]);
    onTestFinished(() => worker.stop());
    await worker.event('ready');
    const runtime = await testRuntime({ discovery: { kind: 'file', dir: folder } });
    const client = await runtime.endpoint<NumbersRequest, NumbersItem>(path).client();
    await client.waitForInstances({ timeoutMs: 30_000 });

    let call = 0;
    const lane = async (): Promise<void> => {
      while (call < CALLS) {
        const turns = call % MAX_TURNS;
        const stream = client.generate({ call: call++, items: 1, hangAt: 0 });
        const items = stream.collect();
        for (let count = 0; count < turns; count++) await turn();
        if (how === 'killed') await stream.kill();
        else stream.stop();
        expect(await items).toEqual([]);
      }
    };
    await Promise.all(Array.from({ length: LANES }, lane));

    worker.kill('SIGTERM');
    const closed = await worker.event('closed');
    console.log(`${CALLS} calls ${how}, ${String(closed['accepted'])} of them when their handler ran`);
    expect(closed).toMatchObject({ cut: closed['accepted'], whole: 0, failed: 0 });
    expect(await worker.exit()).toMatchObject({ code: 0, signal: null });
  });
});
