import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { MemoryDescriptor } from 'dynamo-node';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';

import { Child } from '../../helpers/child.js';
import { missingPeers } from '../../helpers/interop/peers.js';
import { agentOf, nixlMissing, pattern, uniqueName, useTransport, viewOf } from '../../helpers/nixl/library.js';
import { root } from '../../helpers/project.js';
import { within } from '../../helpers/wait.js';

useTransport('ucx');

const BYTES = 20 << 20;
const hashOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

async function startPython(name: string): Promise<{ child: Child; metadata: Buffer; descriptor: MemoryDescriptor }> {
  const child = Child.start(
    join(root, '.peers/bin/python'),
    [join(root, 'test/interop/peers/nixl_peer.py'), name, String(BYTES)],
    {
      env: { PYTHONUNBUFFERED: '1', NIXL_LOG_LEVEL: 'FATAL' },
    },
  );
  onTestFinished(() => child.stop());
  const ready = await child.event('ready', {}, 60_000);
  return {
    child,
    metadata: Buffer.from(ready['metadata'] as string, 'base64'),
    descriptor: ready['descriptor'] as MemoryDescriptor,
  };
}

async function ask(child: Child, command: { do: string; [field: string]: unknown }): Promise<Record<string, unknown>> {
  child.send(command);
  return child.event(command.do, {}, 20_000);
}

describe('NIXL between Node.js and Python', () => {
  beforeEach((context) => {
    const missing = missingPeers ?? nixlMissing();
    if (missing !== undefined) context.skip(missing);
  });

  it('reads, writes and notifies from Node.js to Python', async () => {
    const agent = await agentOf('ucx', 'node');
    const mine = await agent.allocate(BYTES);
    const { child, metadata, descriptor } = await startPython(uniqueName('python'));
    const peer = await agent.connect(metadata);
    const remote = peer.memory(descriptor);
    pattern(viewOf(mine), 1);
    await agent.write(mine, remote, { notify: 'from node' });
    expect(await ask(child, { do: 'receive' })).toMatchObject({ messages: { [agent.name]: ['from node'] } });
    expect((await ask(child, { do: 'hash' }))['hash']).toBe(hashOf(viewOf(mine)));
    await ask(child, { do: 'fill', seed: 7 });
    await agent.read(mine, remote);
    expect((await ask(child, { do: 'hash' }))['hash']).toBe(hashOf(viewOf(mine)));
    expect([...viewOf(mine).subarray(0, 4)]).toEqual([0, 7, 14, 21]);
    const blocks = 1 << 16;
    const [local, other] = [await agent.blocks(mine, blocks), await agent.blocks(remote, blocks)];
    pattern(viewOf(mine), 2);
    await agent.transferBlocks(
      'WRITE',
      local,
      Int32Array.from({ length: local.length }, (_, index) => index),
      other,
      Int32Array.from({ length: local.length }, (_, index) => index),
    );
    expect((await ask(child, { do: 'hash' }))['hash']).toBe(hashOf(viewOf(mine)));
  });

  it('reads, writes and notifies from Python to Node.js, with unmodified metadata', async () => {
    const agent = await agentOf('ucx', 'node');
    const mine = await agent.allocate(BYTES);
    const { child } = await startPython(uniqueName('python'));
    const messages = agent.notifications();
    expect(
      await ask(child, { do: 'connect', metadata: Buffer.from(await agent.metadata()).toString('base64') }),
    ).toMatchObject({ name: agent.name });
    await ask(child, { do: 'fill', seed: 3 });
    expect(await ask(child, { do: 'write', descriptor: mine.descriptor(), notify: 'written' })).toMatchObject({
      state: 'DONE',
    });
    expect(Buffer.from((await within(20_000, 'the message', messages.next())).value.data).toString()).toBe('written');
    expect((await ask(child, { do: 'hash' }))['hash']).toBe(hashOf(viewOf(mine)));
    pattern(viewOf(mine), 4);
    expect(await ask(child, { do: 'read', descriptor: mine.descriptor() })).toMatchObject({ state: 'DONE' });
    expect((await ask(child, { do: 'hash' }))['hash']).toBe(hashOf(viewOf(mine)));
    child.send({ do: 'notify', text: 'read' });
    expect(Buffer.from((await within(20_000, 'the message', messages.next())).value.data).toString()).toBe('read');
  });
});
