import { describe, expect, it, onTestFinished } from 'vitest';
import { pack } from '../../../lib/addon/codec.js';
import { invoke, native } from '../../../lib/addon/invoke.js';
import { testRuntime } from '../../helpers/runtime/runtime.js';
import { waitFor } from '../../helpers/wait.js';

type Deliver = (failed: boolean, value: unknown) => void;

/** Stops the event loop, so that completions collect in one batch. */
function block(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

describe('a batch of completions', () => {
  it('is delivered whole if the delivery of one of them throws', async () => {
    const runtime = await testRuntime();
    const handle = (runtime as unknown as { handle(operation: string): never }).handle('test');
    const waiting = (native as unknown as Record<symbol, Map<number, Deliver>>)[Symbol.for('dynamo-node.waiting')]!;
    const reports: string[] = [];
    const note = ({ message }: Error): void => void reports.push(message);
    process.on('warning', note);
    onTestFinished(() => void process.off('warning', note));
    const before = new Set(waiting.keys());
    const results = Array.from({ length: 8 }, () => invoke(native.runtimeInstances, 'test', { handle }));
    const thrown = [...waiting.keys()].find((key) => !before.has(key))!;
    waiting.set(thrown, () => {
      throw new Error('a broken delivery');
    });
    block(200);
    const settled = results.slice(1).map((result) => result.then(() => 'resolved'));
    expect(await Promise.all(settled)).toEqual(Array.from({ length: 7 }, () => 'resolved'));
    await waitFor('the report', () => reports.some((message) => message.includes('a broken delivery')));
  });

  it('rejects the operation whose failure cannot be read', async () => {
    const runtime = await testRuntime();
    const handle = (runtime as unknown as { handle(operation: string): never }).handle('test');
    const waiting = (native as unknown as Record<symbol, Map<number, Deliver>>)[Symbol.for('dynamo-node.waiting')]!;
    const before = new Set(waiting.keys());
    const result = invoke(native.runtimeInstances, 'test', { handle });
    const op = [...waiting.keys()].find((key) => !before.has(key))!;
    const deliver = waiting.get(op)!;
    waiting.set(op, () => deliver(true, pack({}).subarray(0, 0)));
    await expect(result).rejects.toMatchObject({ code: 'DYN_INVALID_REQUEST' });
  });
});
