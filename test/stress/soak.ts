// Mixed load for a long time: one agent stays, peers in this process and in others start, end and are killed. Every
// byte is checked. Fails if memory, files or threads grow, or a byte is wrong.   npm run soak -- [MINUTES]   60 by
// default; DYNAMO_NIXL=mock uses the mock
import { loadNixl, type MemoryDescriptor, type MemoryRegion, NixlAgent, NixlError } from 'dynamo-node';

import { Child } from '../helpers/child.js';
import { pattern, sameBytes, viewOf } from '../helpers/nixl/library.js';
import { type Resources, resources } from '../helpers/nixl/process-resources.js';

const MINUTES = Number(process.argv[2] ?? 60);
const BYTES = 24 << 20;
const SMALL = 16 << 10;
const BLOCK = 4096;
const REPORT_MS = 15_000;
/** The growth between the first and the last third that counts as noise. */
const SPARE = { files: 8, threads: 3, rssMiB: 64 };

process.env['NIXL_LOG_LEVEL'] ??= 'FATAL';
process.env['UCX_LOG_LEVEL'] ??= 'fatal';
const library = loadNixl({ mode: process.env['DYNAMO_NIXL'] === 'mock' ? 'mock' : 'real' });
const end = performance.now() + MINUTES * 60_000;
const counts: Record<string, number> = {};
let seed = 1;

const did = (what: string): void => void (counts[what] = (counts[what] ?? 0) + 1);
const name = (what: string): string => `${what}-${process.pid}-${seed++}`;

function expectSame(left: Uint8Array, right: Uint8Array, what: string): void {
  if (!sameBytes(left, right)) throw new Error(`${what}: a byte is wrong`);
}

const agent = await NixlAgent.create(name('soak'), { library });

/** Moves bytes with a peer in this process: large and small, lists, blocks, prepared, aborted, with notifications. */
async function neighbour(): Promise<void> {
  const other = await NixlAgent.create(name('neighbour'), { library });
  const [mine, theirs] = [await agent.allocate(BYTES), await other.allocate(BYTES)];
  const peer = await agent.connect(await other.metadata());
  const remote = peer.memory(theirs.descriptor());
  const messages = other.notifications();
  const [local, blocks] = [await agent.blocks(mine, BLOCK), await agent.blocks(remote, BLOCK)];
  const prepared = await agent.prepare('WRITE', mine.slice(0, SMALL), remote.slice(0, SMALL));
  const all = Int32Array.from({ length: BYTES / BLOCK }, (_, index) => index);
  for (let round = 0; round < 10; round++) {
    pattern(viewOf(mine), seed++);
    await agent.write(mine, remote, { notify: `round ${round}` });
    const { value } = await messages.next();
    if (Buffer.from(value.data).toString() !== `round ${round}`) throw new Error('a message is wrong');
    expectSame(viewOf(theirs), viewOf(mine), 'a write');
    pattern(viewOf(theirs), seed++);
    await agent.transferBlocks('READ', local, all, blocks, all);
    expectSame(viewOf(mine), viewOf(theirs), 'blocks');
    for (let small = 0; small < 200; small++) await prepared.post();
    const controller = new AbortController();
    const aborted = agent.read(mine, remote, { signal: controller.signal }).then(
      () => did('done before the abort'),
      () => did('aborted'),
    );
    controller.abort();
    await aborted;
    const extra = await agent.registerMany([new Uint8Array(BLOCK), new Uint8Array(BLOCK)]);
    await Promise.all(extra.map((region) => region.release()));
    did('rounds');
  }
  await Promise.all([prepared.release(), local.release(), blocks.release(), messages.return(), peer.disconnect()]);
  await Promise.all([mine.release(), other.close()]);
  did('neighbours');
}

/** Moves bytes with a peer in another process until the peer is closed or killed. */
async function stranger(kill: boolean): Promise<void> {
  const called = name('stranger');
  const child = Child.program('test/helpers/nixl/programs/peer.ts', [
    library.kind === 'mock' ? 'mock' : 'real',
    called,
    String(BYTES),
  ]);
  const { metadata, descriptor } = (await child.event('ready', {}, 60_000)) as unknown as {
    metadata: string;
    descriptor: MemoryDescriptor;
  };
  const peer = await agent.connect(Buffer.from(metadata, 'base64'));
  const [mine, back] = [await agent.allocate(BYTES), await agent.allocate(BYTES)];
  const remote = peer.memory(descriptor);
  for (let round = 0; round < 20; round++) {
    pattern(viewOf(mine), seed++);
    await agent.write(mine, remote);
    await agent.read(back, remote);
    expectSame(viewOf(back), viewOf(mine), 'what a stranger keeps');
    did('rounds with strangers');
  }
  if (kill) {
    const moves = Promise.allSettled([agent.write(mine, remote), agent.read(back, remote)]);
    child.kill('SIGKILL');
    await child.exit();
    for (const outcome of await moves)
      if (outcome.status === 'rejected' && !(outcome.reason instanceof NixlError)) throw outcome.reason;
    did('kills');
  } else {
    child.send({ do: 'close' });
    await child.event('close');
    await child.stop();
  }
  await peer.disconnect();
  await Promise.all([mine, back].map((region: MemoryRegion) => region.release()));
  did('strangers');
}

const seen: Resources[] = [];
const report = setInterval(() => {
  const now = resources();
  seen.push(now);
  console.log(
    `${Math.round((MINUTES * 60_000 - (end - performance.now())) / 1000)} s`,
    JSON.stringify({ ...now, ...counts }),
  );
}, REPORT_MS);

async function until(work: () => Promise<void>): Promise<void> {
  while (performance.now() < end) await work();
}

let strangers = 0;
await Promise.all([until(neighbour), until(() => stranger(strangers++ % 2 === 1))]);
clearInterval(report);
const closed = await agent.close();
const median = (numbers: number[]): number => numbers.sort((a, b) => a - b)[numbers.length >> 1] ?? Number.NaN;
const third = Math.max(1, Math.floor(seen.length / 3));
const grown = (of: keyof Resources): number =>
  median(seen.slice(-third).map((one) => one[of])) - median(seen.slice(0, third).map((one) => one[of]));
const growth = { files: grown('files'), threads: grown('threads'), rssMiB: grown('rssMiB') };
const flat = (Object.keys(SPARE) as (keyof Resources)[]).every((of) => growth[of] <= SPARE[of]);
console.log(
  `${MINUTES} minutes on ${library.kind}: ${JSON.stringify(counts)}; ` +
    `growth from the first third to the last ${JSON.stringify(growth)}`,
);
if (!flat || closed.leaked) {
  console.error(closed.leaked ? 'the agent did not end' : 'the resources grow');
  process.exitCode = 1;
}
