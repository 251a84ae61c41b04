import { loadNixl, type MockKnobs, NixlAgent, type NixlError } from 'dynamo-node';
import { afterEach, describe, expect, it, onTestFinished } from 'vitest';

import { pattern, sameBytes, uniqueName, viewOf } from '../helpers/nixl/library.js';

async function pairWith(mock: MockKnobs) {
  const library = loadNixl({ mode: 'mock', mock });
  const agents = await Promise.all(['a', 'b'].map((name) => NixlAgent.create(uniqueName(name), { library })));
  const [a, b] = agents as [NixlAgent, NixlAgent];
  onTestFinished(async () => {
    loadNixl({ mode: 'mock' });
    for (const agent of agents) await agent.close();
  });
  const [mine, theirs] = [await a.allocate(1 << 20), await b.allocate(1 << 20)];
  const peer = await a.connect(await b.metadata());
  return { a, b, mine, theirs, peer, remote: peer.memory(theirs.descriptor()) };
}

describe('what goes wrong below', () => {
  afterEach(() => void loadNixl({ mode: 'mock' }));

  it('a transfer that never ends reaches its deadline; its memory waits, and the close tells what it leaves', async () => {
    const { a, mine, remote } = await pairWith({ completion: 'delayed', neverComplete: true });
    await expect(a.write(mine, remote, { timeoutMs: 50 })).rejects.toMatchObject({ code: 'DYN_DEADLINE_EXCEEDED', reason: 'nixl.deadline' });
    await expect(mine.release({ timeoutMs: 50 })).rejects.toMatchObject({ reason: 'nixl.deadline' });
    expect(viewOf(mine).length).toBe(0);
    expect(await a.close({ deadlineMs: 100 })).toEqual({ leaked: true });
  });

  it('a transfer that was aborted keeps its memory until its late bytes have come', async () => {
    const { a, mine, theirs, remote } = await pairWith({ completion: 'delayed', latencyUs: 30_000 });
    pattern(viewOf(mine), 1);
    const expected = Uint8Array.from(viewOf(mine));
    const controller = new AbortController();
    const writing = a.write(mine, remote, { signal: controller.signal });
    await expect(a.write(mine.slice(0, 10), remote.slice(0, 10), { timeoutMs: 5 })).rejects.toMatchObject({ reason: 'nixl.deadline' });
    controller.abort(new Error('enough'));
    await expect(writing).rejects.toThrow('enough');
    await mine.release();
    expect(sameBytes(viewOf(theirs), expected)).toBe(true);
  });

  it('a post that fails fails its transfer, and the next one is fine', async () => {
    const { a, mine, remote } = await pairWith({});
    loadNixl({ mode: 'mock', mock: { failAt: 1 } });
    const outcomes = [];
    for (let index = 0; index < 3; index++) outcomes.push(await a.write(mine, remote).then(() => 'done', (error: NixlError) => error.reason));
    expect(outcomes.filter((outcome) => outcome === 'done').length).toBeGreaterThanOrEqual(2);
  });

  it('a dead peer is told as lost', async () => {
    const { a, b, mine, remote, peer } = await pairWith({});
    await a.write(mine, remote);
    loadNixl({ mode: 'mock', mock: { dropPeer: b.name } });
    await expect(a.write(mine, remote)).rejects.toMatchObject({ class: 'Unavailable', retryable: true });
    await expect(peer.notify('x')).rejects.toMatchObject({ reason: 'nixl.peer_lost' });
  });
});
