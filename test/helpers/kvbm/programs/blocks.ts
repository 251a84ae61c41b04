import { parentPort, workerData } from 'node:worker_threads';

import { BlockManager, type RegisteredBlocks, TokenSequence } from '../../../../lib/index.js';
import { randomNumbers } from '../../random.js';

/** The input of a thread. Without `rounds` it allocates blocks, keeps them, and waits to be terminated. */
export interface BlocksWork {
  readonly token: number;
  readonly seed: number;
  readonly rounds?: number;
}

export interface BlocksDone {
  readonly checked: number;
  readonly stored: number;
  readonly wrong: string[];
}

const { token, seed, rounds } = workerData as BlocksWork;
const manager = BlockManager.attach(token);
const random = randomNumbers(seed);
const { blockSize } = manager;

/** The value of every byte of a block, made from its name. */
const byteOf = (sequence: TokenSequence, index: number): number =>
  Number(sequence.lineageHashes(index, 1).at(0) & 255n);

function round(done: { checked: number; stored: number; wrong: string[] }): void {
  const tokens = Array.from({ length: 1 + Math.floor(random() * 5) }, () => Math.floor(random() * 3)).flatMap((one) =>
    Array<number>(blockSize).fill(one),
  );
  using sequence = new TokenSequence(tokens, { blockSize });
  using cached = manager.matchPrefix(sequence);
  for (let index = 0; index < (cached?.length ?? 0); index++) {
    const bytes = (cached as RegisteredBlocks).view(index);
    const expected = byteOf(sequence, index);
    const wrong = bytes.findIndex((byte) => byte !== expected);
    if (wrong >= 0) done.wrong.push(`block ${index}: expected ${expected} at ${wrong}, got ${bytes[wrong]}`);
    done.checked += 1;
  }
  const first = cached?.length ?? 0;
  if (first === sequence.blockCount) return;
  using fresh = manager.allocate(sequence.blockCount - first);
  if (fresh === null) return;
  for (let index = 0; index < fresh.length; index++) fresh.bytes(index).fill(byteOf(sequence, first + index));
  fresh.stage(sequence, first).register().dispose();
  done.stored += 1;
}

if (rounds === undefined) {
  const kept: unknown[] = [];
  while (kept.length < 4) {
    const blocks = manager.allocateOrThrow(2);
    using sequence = new TokenSequence(Array<number>(2 * blockSize).fill(seed * 100 + kept.length), { blockSize });
    blocks.bytes(0);
    kept.push(kept.length % 2 === 0 ? blocks : blocks.stage(sequence).register());
  }
  parentPort?.postMessage({ checked: 0, stored: kept.length, wrong: [] } satisfies BlocksDone);
  setInterval(() => kept.length, 1000);
} else {
  const done = { checked: 0, stored: 0, wrong: [] as string[] };
  for (let index = 0; index < rounds; index++) round(done);
  manager.dispose();
  parentPort?.postMessage(done satisfies BlocksDone);
}
