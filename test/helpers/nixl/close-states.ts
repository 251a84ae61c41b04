import { NixlAgent, type NixlLibrary } from 'dynamo-node';
import { expect, it } from 'vitest';
import { type Kind, libraryOf, uniqueName } from './library.js';
import { expectBaseline, resources } from './process-resources.js';

const BYTES = 100_000;
const WARM = 20;

/** The states of two agents at their close. Each state leaves its operations unfinished. */
const STATES: readonly ((a: NixlAgent, b: NixlAgent) => Promise<unknown>)[] = [
  async () => {},
  async (a, b) => Promise.all([a.allocate(BYTES), b.registerMany([new Uint8Array(BYTES), new Uint8Array(BYTES)])]),
  async (a, b) => {
    const [mine, theirs] = [await a.allocate(BYTES), await b.allocate(BYTES)];
    const remote = (await a.connect(await b.metadata())).memory(theirs.descriptor());
    for (const transfer of [a.write(mine, remote), a.read(mine.slice(0, 10), remote.slice(0, 10))])
      transfer.catch(() => {});
  },
  async (a, b) => {
    const [mine, theirs] = [await a.allocate(BYTES), await b.allocate(BYTES)];
    const remote = (await a.connect(await b.metadata())).memory(theirs.descriptor());
    const prepared = await a.prepare('WRITE', mine, remote);
    await prepared.post({ notify: 'there' });
    prepared.post().catch(() => {});
  },
  async (a, b) => {
    const [mine, theirs] = [await a.allocate(BYTES), await b.allocate(BYTES)];
    const peer = await a.connect(await b.metadata());
    const [local, other] = [await a.blocks(mine, 1000), await a.blocks(peer.memory(theirs.descriptor()), 1000)];
    a.transferBlocks('READ', local, Int32Array.of(0, 1), other, Int32Array.of(9, 8)).catch(() => {});
    b.notifications()
      .next()
      .catch(() => {});
    await peer.notify('hello');
    await peer.disconnect();
  },
];

async function live(library: NixlLibrary, life: number): Promise<void> {
  const [a, b] = await Promise.all([
    NixlAgent.create(uniqueName('a'), { library }),
    NixlAgent.create(uniqueName('b'), { library }),
  ]);
  await STATES[life % STATES.length]?.(a, b);
  const ends = await Promise.all([a.close(), b.close()]);
  expect(ends).toEqual([{ leaked: false }, { leaked: false }]);
}

/** Creates and closes agents, two at a time, in every state. Their resources must be released. */
export function describeLives(kind: Kind, lives: number, timeoutMs: number): void {
  it(`releases memory, files and threads of ${lives} agents that end in every state`, {
    timeout: timeoutMs,
  }, async () => {
    const library = libraryOf(kind);
    for (let life = 0; life < WARM; life++) await live(library, life);
    const before = resources();
    const begun = performance.now();
    for (let life = 0; life < lives / 2; life++) await live(library, life);
    const seconds = (performance.now() - begun) / 1000;
    await expectBaseline(before, `${kind}, ${lives} lives in ${seconds.toFixed(0)} s`);
  });
}
