import {
  BlockManager,
  LineageHashes,
  MutableBlocks,
  RegisteredBlocks,
  type ScatteredBlocks,
  StagedBlocks,
  TokenSequence,
  WeakBlocks,
} from 'dynamo-node';

import { onTestFinished } from 'vitest';

import { attempt, must } from '../expectations.js';
import type { FuzzTarget } from '../harness.js';
import { FuzzInput } from '../input.js';

const BLOCKS = 12;
const BLOCK_SIZE = 4;
const MAX_STEPS = 40;
const layout = { layers: 1, heads: 1, headDim: 8, elementType: 'int8', outer: 1 } as const;

const KINDS = [MutableBlocks, StagedBlocks, RegisteredBlocks, WeakBlocks];

type Batch = InstanceType<(typeof KINDS)[number]>;

/** Calls that use the chosen batches, of whichever manager, kind and state they are. */
class Misuse {
  readonly batches: Batch[] = [];

  constructor(
    readonly managers: readonly BlockManager[],
    readonly input: FuzzInput,
  ) {}

  /** A batch of any manager, kind and state, if there is one. */
  any(): Batch | undefined {
    return this.batches[this.input.below(this.batches.length || 1)];
  }

  index(): number {
    return this.input.below(4) === 0 ? this.input.number() : this.input.below(BLOCKS);
  }

  names(): TokenSequence | LineageHashes {
    const { input } = this;
    const tokens = Uint32Array.from({ length: input.below(30) }, (_, at) => (at < 8 ? 0 : input.below(2)));
    const sequence = new TokenSequence(tokens, { blockSize: input.below(16) === 0 ? 8 : BLOCK_SIZE });
    switch (input.below(8)) {
      case 0:
        return LineageHashes.from([input.u64() << 64n, input.u64()]);
      case 1:
        return sequence.lineageHashes();
      case 2:
        sequence.dispose();
    }
    return sequence;
  }

  step(): void {
    const { input } = this;
    const manager = input.pick(this.managers);
    const call = input.pick<() => unknown>([
      () => manager.allocate(this.index()),
      () => manager.matchPrefix(this.names(), input.below(4) === 0 ? this.index() : 0),
      () => manager.matchEach(this.names()).blocks,
      () => manager.scan(this.names() as LineageHashes, input.below(2) === 0).blocks,
      () => this.use('stage', this.names(), input.below(4) === 0 ? this.index() : 0),
      () => this.use('stageAs', this.any()),
      () => this.use('commit', this.names(), this.index(), this.index()),
      () => this.use('split', this.index()),
      () => this.use('join', this.any()),
      () => (this.use('bytes', this.index()) as Uint8Array | undefined)?.fill(7),
      () => this.use('register'),
      () => this.use('reset'),
      () => this.use('clone', this.index(), this.index()),
      () => this.use('weak'),
      () => this.use('hashes'),
      () => this.use('view', this.index()),
      () => this.use('resetOnRelease', input.below(2) === 0),
      () => (this.use('upgrade') as ScatteredBlocks | undefined)?.blocks,
      () => this.use('dispose'),
      () => manager.drainInactive(),
    ]);
    const made = attempt(call)?.value;
    if (KINDS.some((Kind) => made instanceof Kind)) this.batches.push(made as Batch);
  }

  /** Calls a method of any batch that has it. */
  use(method: string, ...values: unknown[]): unknown {
    const batch = this.any() as Partial<Record<string, (...values: unknown[]) => unknown>> | undefined;
    return batch?.[method]?.(...values);
  }
}

/** Whatever batches and indices are used, no block is lost and none has two owners. */
export const batchesTarget: FuzzTarget = {
  name: 'batches',
  open: () => {
    const pairs = (['allow', 'reject'] as const).map((duplicates) => {
      const options = { tier: 'host', blockCount: BLOCKS, blockSize: BLOCK_SIZE, duplicates } as const;
      return [new BlockManager(options), new BlockManager({ ...options, layout, storage: { kind: 'memory' } })];
    });
    onTestFinished(() => pairs.flat().forEach((manager) => manager.dispose()));
    return (bytes) => {
      const input = new FuzzInput(bytes);
      const misuse = new Misuse(input.pick(pairs), input);
      for (let step = 0; step < MAX_STEPS && !input.isSpent; step++) misuse.step();
      for (const manager of misuse.managers) {
        const ids = misuse.batches.flatMap((batch) => (batch.core === manager.core ? ownedIds(batch) : []));
        must('each mutable or staged block has one owner', new Set(ids).size === ids.length);
      }
      for (const batch of misuse.batches) batch.dispose();
      for (const manager of misuse.managers) {
        must('every block is returned', manager.available === BLOCKS);
        must('no block stays in use', manager.drainInactive().held === 0);
      }
    };
  },
};

function ownedIds(batch: Batch): number[] {
  const isOwner = (batch instanceof MutableBlocks || batch instanceof StagedBlocks) && !batch.disposed;
  return isOwner ? [...batch.ids] : [];
}
