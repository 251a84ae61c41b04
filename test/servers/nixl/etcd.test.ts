import { NixlAgent, type NixlError } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';

import { Child } from '../../helpers/child.js';
import {
  libraryOf,
  nixlMissing,
  pattern,
  sameBytes,
  uniqueName,
  useTransport,
  viewOf,
} from '../../helpers/nixl/library.js';
import { freePort } from '../../helpers/runtime/cluster.js';
import { Server, serversMissing } from '../../helpers/servers.js';
import { waitFor } from '../../helpers/wait.js';

useTransport('ucx');

async function listening(name: string): Promise<NixlAgent> {
  const agent = await NixlAgent.create(uniqueName(name), { library: libraryOf('ucx'), listenPort: await freePort() });
  onTestFinished(async () => void (await agent.close()));
  return agent;
}

describe('metadata exchange between agents', () => {
  it('fetches and sends through sockets', async (context) => {
    const missing = nixlMissing();
    if (missing !== undefined) context.skip(missing);
    const [portA, portB] = [await freePort(), await freePort()];
    const create = async (name: string, listenPort: number): Promise<NixlAgent> => {
      const agent = await NixlAgent.create(uniqueName(name), { library: libraryOf('ucx'), listenPort });
      onTestFinished(async () => void (await agent.close()));
      return agent;
    };
    const [a, b] = [await create('a', portA), await create('b', portB)];
    const [mine, theirs] = [await a.allocate(4096), await b.allocate(4096)];
    const peer = await a.fetch(b.name, { host: '127.0.0.1', port: portB }, { timeoutMs: 20_000 });
    pattern(viewOf(mine), 1);
    await a.write(mine, peer.memory(theirs.descriptor()));
    expect(sameBytes(viewOf(theirs), viewOf(mine))).toBe(true);
    await a.sendMetadata({ host: '127.0.0.1', port: portB });
    const back = await b.accept(a.name, { timeoutMs: 20_000 });
    pattern(viewOf(theirs), 2);
    await b.write(theirs, back.memory(mine.descriptor()));
    expect(sameBytes(viewOf(mine), viewOf(theirs))).toBe(true);
  });

  it('sends partial metadata through sockets: other regions cannot be reached', async (context) => {
    const missing = nixlMissing();
    if (missing !== undefined) context.skip(missing);
    const [a, portB] = [await listening('a'), await freePort()];
    const b = await NixlAgent.create(uniqueName('b'), { library: libraryOf('ucx'), listenPort: portB });
    onTestFinished(async () => void (await b.close()));
    const [shared, hidden, theirs] = [await a.allocate(4096), await a.allocate(4096), await b.allocate(4096)];
    const to = { host: '127.0.0.1', port: portB };
    await a.sendMetadata(to, { regions: [shared] });
    const peer = await b.accept(a.name, { timeoutMs: 20_000 });
    pattern(viewOf(theirs), 4);
    await waitFor(
      'the shared region',
      () =>
        b.write(theirs, peer.memory(shared.descriptor())).then(
          () => undefined,
          (error: NixlError) => error,
        ),
      (error) => error === undefined,
    );
    expect(sameBytes(viewOf(shared), viewOf(theirs))).toBe(true);
    await expect(b.write(theirs, peer.memory(hidden.descriptor()))).rejects.toMatchObject({ reason: 'nixl.range' });
    await a.sendMetadata(to, { regions: [hidden] });
    await waitFor('the rest', () =>
      b.write(theirs, peer.memory(hidden.descriptor())).then(
        () => true,
        () => false,
      ),
    );
    expect(sameBytes(viewOf(hidden), viewOf(theirs))).toBe(true);
  });

  it('ends each call by its limit or with an error if etcd does not answer', async (context) => {
    const missing = nixlMissing();
    if (missing !== undefined) context.skip(missing);
    const env = { NIXL_ETCD_ENDPOINTS: `http://127.0.0.1:${await freePort()}`, NIXL_LOG_LEVEL: 'FATAL' };
    const child = Child.program('test/helpers/nixl/programs/etcd.ts', [], { env });
    onTestFinished(() => child.stop());
    const { fetched, sent, closeMs } = await child.event('done', {}, 90_000);
    expect([fetched, sent]).toEqual(['nixl.deadline', 'done']);
    expect(closeMs).toBeLessThan(15_000);
    expect(await child.exit()).toMatchObject({ code: 0, signal: null });
  });

  it('sends full metadata through etcd', async (context) => {
    const missing = nixlMissing() ?? serversMissing('etcd');
    if (missing !== undefined) context.skip(missing);
    const etcd = await Server.etcd();
    onTestFinished(() => etcd.close());
    process.env['NIXL_ETCD_ENDPOINTS'] = etcd.url;
    onTestFinished(() => void delete process.env['NIXL_ETCD_ENDPOINTS']);
    const [a, b] = [await listening('a'), await listening('b')];
    const [mine, theirs] = [await a.allocate(4096), await b.allocate(4096)];
    await b.sendMetadata();
    const peer = await a.fetch(b.name, undefined, { timeoutMs: 20_000 });
    pattern(viewOf(mine), 3);
    await a.write(mine, peer.memory(theirs.descriptor()));
    expect(sameBytes(viewOf(theirs), viewOf(mine))).toBe(true);
    await expect(b.sendMetadata(undefined, { regions: [theirs] })).rejects.toMatchObject({
      class: 'NotImplemented',
      reason: 'nixl.not_supported',
    });
    await b.withdrawMetadata();
    await waitFor(
      'the end of the withdrawn metadata',
      async () => {
        await using c = await NixlAgent.create(uniqueName('c'), { library: libraryOf('ucx') });
        return await c.fetch(b.name, undefined, { timeoutMs: 2000 }).then(
          () => 'found',
          (error: NixlError) => error.reason,
        );
      },
      (found) => found === 'nixl.deadline',
      20_000,
    );
    await Promise.all([a.close(), b.close()]);
  });
});
