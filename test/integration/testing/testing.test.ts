import { NixlAgent } from 'dynamo-node';
import { mockNixl, testRuntime } from 'dynamo-node/testing';
import { describe, expect, it } from 'vitest';

describe('testRuntime', () => {
  it('returns a runtime that serves and calls an endpoint without a server', async () => {
    await using runtime = await testRuntime();
    const endpoint = runtime.endpoint<string, string>('test.echo.generate');
    await using _served = await endpoint.serve(async function* (text: string) {
      yield text;
    });
    const client = await endpoint.client();
    await client.waitForInstances({ timeoutMs: 10_000 });
    expect(await client.unary('hello')).toBe('hello');
  });

  it('closes the runtime at the end of its block', async () => {
    const runtime = await testRuntime();
    {
      await using _scoped = runtime;
    }
    expect(() => runtime.endpoint('test.echo.generate')).toThrow('closed');
  });

  it('rejects a wrong option with the path of the field', async () => {
    await expect(testRuntime({ host: 5 as never })).rejects.toThrow(/host: expected /);
  });
});

describe('mockNixl', () => {
  it('moves bytes between two agents', async () => {
    const library = mockNixl({ completion: 'immediate' });
    expect(library.kind).toBe('mock');
    await using source = await NixlAgent.create('testing-source', { library });
    await using target = await NixlAgent.create('testing-target', { library });
    const from = await source.allocate(16);
    const to = await target.allocate(16);
    await from.upload(new Uint8Array(16).fill(7));
    const peer = await target.connect(await source.metadata());
    await target.read(to, peer.memory(from.descriptor()));
    expect([...(await to.download())]).toEqual(Array.from({ length: 16 }, () => 7));
  });

  it('rejects an unknown knob', () => {
    expect(() => mockNixl({ speed: 1 } as never)).toThrow('loadNixl options.mock.speed: unknown option');
  });
});
