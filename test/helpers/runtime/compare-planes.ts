import { DistributedRuntime } from 'dynamo-node';
import { expect, onTestFinished } from 'vitest';

import { callsClient, framesOf, makeCalls, plannedCalls, serveCalls } from './plane-calls.js';
import { temporaryFolder } from './runtime.js';
import { Tap } from './tap.js';

type DataPlane = 'crates' | 'native';

interface Combination {
  readonly caller: DataPlane;
  readonly worker: DataPlane;
}

const REFERENCE: Combination = { caller: 'crates', worker: 'crates' };
const OTHERS: readonly Combination[] = [
  { caller: 'native', worker: 'crates' },
  { caller: 'crates', worker: 'native' },
  { caller: 'native', worker: 'native' },
];

/** Makes the calls over two planes, through a tap. */
async function recorded({ caller, worker }: Combination, count: number, seed: number) {
  const options = { discovery: { kind: 'file', dir: temporaryFolder() }, host: '127.0.0.1' } as const;
  const runtime = async (dataPlane: DataPlane): Promise<DistributedRuntime> => {
    const made = await DistributedRuntime.create({ ...options, dataPlane });
    onTestFinished(() => made.close({ timeoutMs: 5000 }));
    expect(made.config.dataPlane).toBe(dataPlane);
    return made;
  };
  await serveCalls(await runtime(worker));
  const tap = await Tap.before(options.discovery.dir);
  onTestFinished(() => tap.close());
  const client = await callsClient(await runtime(caller));
  const calls = plannedCalls(count, seed);
  const outcomes = await makeCalls(client, calls);
  return { outcomes, frames: await framesOf(tap.recorded, calls) };
}

/**
 * Compares random calls over each combination of planes with the crates' own at both ends: what the caller sees, and
 * each frame on the wire. Each combination makes `count` calls. Returns the number of frames that were compared.
 */
export async function comparePlanes(count: number, seed: number): Promise<number> {
  const expected = await recorded(REFERENCE, count, seed);
  let compared = 0;
  for (const combination of OTHERS) {
    const { outcomes, frames } = await recorded(combination, count, seed);
    const at = `caller ${combination.caller}, worker ${combination.worker}`;
    for (const [id, outcome] of expected.outcomes) {
      expect(outcomes.get(id), `${at}: the outcome of ${id}`).toBe(outcome);
      expect(frames.get(id), `${at}: the frames of ${id}`).toEqual(expected.frames.get(id));
      compared += expected.frames.get(id)?.length ?? 0;
    }
  }
  return compared;
}
