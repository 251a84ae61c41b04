import type { RuntimeOptions } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';

import { Child, type ChildEvent } from '../../helpers/child.js';
import { comparePlanes } from '../../helpers/runtime/compare-planes.js';
import { temporaryFolder, testRuntime } from '../../helpers/runtime/runtime.js';

describe('the data plane', () => {
  it("is the native one unless the crates' is asked for", async () => {
    expect((await testRuntime({ dataPlane: 'native' })).config.dataPlane).toBe('native');
    const { DYNAMO_TEST_DATA_PLANE: tested = 'native' } = process.env;
    expect((await testRuntime()).config.dataPlane).toBe(tested);
    expect((await testRuntime({ dataPlane: 'crates' })).config.dataPlane).toBe('crates');
    await expect(testRuntime({ dataPlane: 'other' } as unknown as RuntimeOptions)).rejects.toThrow(
      'DistributedRuntime.create options.dataPlane: expected one of native, crates',
    );
  });

  it('carries the same frames in every combination of planes: 400 calls', { timeout: 170_000 }, async () => {
    await comparePlanes(400, 20_261_130);
  });
});

describe('the native data plane', () => {
  /** A process that calls itself. */
  async function described(
    env: Record<string, string>,
    planes: Pick<RuntimeOptions, 'dataPlane'> = { dataPlane: 'native' },
  ): Promise<{ described: ChildEvent; output: string }> {
    const options = { discovery: { kind: 'file', dir: temporaryFolder() }, host: '127.0.0.1', ...planes };
    const child = Child.program('test/helpers/runtime/programs/from-environment.ts', [], {
      env: { SHOW_LOG: '1', DYN_LOG: 'warn', OPTIONS: JSON.stringify(options), ...env },
    });
    onTestFinished(() => child.stop());
    const event = await child.event('described');
    expect(await child.exit()).toMatchObject({ code: 0 });
    return { described: event, output: child.output };
  }

  it('serves a process that needs nothing else', async () => {
    const { described: seen, output } = await described({});
    expect(seen).toMatchObject({ config: { dataPlane: 'native' }, answer: 'HELLO' });
    expect(output).not.toContain('data plane');
  });

  it.each([
    [{ DYN_RESPONSE_PLANE: 'quic' }, 'it has no responses over quic'],
    [{ DYN_TCP_RESPONSE_STREAM_PORT: '39777' }, 'it has no fixed port, and DYN_TCP_RESPONSE_STREAM_PORT is set'],
    [{ DYN_LIFECYCLE_TRACE_ENABLED: '1' }, 'it has no lifecycle spans, and they are on'],
  ])("gives way to the crates' with one line in the log if it lacks something: %j", async (env, reason) => {
    const { described: seen, output } = await described(env as Record<string, string>);
    expect(seen).toMatchObject({ config: { dataPlane: 'crates' }, answer: 'HELLO' });
    expect(output.split('the native data plane is not used')).toHaveLength(2);
    expect(output).toContain(reason);
  });

  it('calls an instance that another runtime of the process no longer sees', async () => {
    const dir = temporaryFolder();
    const [served, calling] = [
      await testRuntime({ discovery: { kind: 'file', dir } }),
      await testRuntime({ discovery: { kind: 'file', dir } }),
    ];
    await served.endpoint<number, number>('planes.both.echo').serve((number) => number);
    const client = await calling.endpoint<number, number>('planes.both.echo').client();
    await client.waitForInstances();
    let answered = 0;
    for (let round = 0; round < 10; round++) {
      const closing = await testRuntime({ discovery: { kind: 'file', dir } });
      const other = await closing.endpoint<number, number>('planes.both.echo').client();
      await other.waitForInstances();
      expect(await other.unary(round)).toBe(round);
      let isClosed = false;
      const close = closing.close().then(() => (isClosed = true));
      do {
        expect(await client.unary(answered)).toBe(answered);
        answered += 1;
      } while (!isClosed);
      await close;
    }
    expect(answered).toBeGreaterThan(10);
  });

  it("gives way to the crates' without a warning if no plane was asked for", async () => {
    const { described: seen, output } = await described({ DYN_RESPONSE_PLANE: 'quic' }, {});
    expect(seen).toMatchObject({ config: { dataPlane: 'crates' }, answer: 'HELLO' });
    expect(output).not.toContain('data plane');
    const { output: detailed } = await described({ DYN_RESPONSE_PLANE: 'quic', DYN_LOG: 'info' }, {});
    expect(detailed.split('the native data plane is not used')).toHaveLength(2);
  });
});
