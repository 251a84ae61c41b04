import { BlockManager, type BlockManagerOptions } from 'dynamo-node';

import { packArgs } from '../../../../lib/addon/codec.js';
import { arg, invokeSync, native } from '../../../../lib/addon/invoke.js';
import { LAYOUT_OPTIONS } from '../../../../lib/kvbm/layout.js';
import { FRONTEND_OPTIONS } from '../../../../lib/llm/frontend-options.js';
import { MODEL_OPTIONS } from '../../../../lib/llm/model.js';
import { AGENT_OPTIONS, ALLOCATE_OPTIONS, REGISTER_OPTIONS } from '../../../../lib/nixl/agent-options.js';
import { CLIENT_OPTIONS, REQUEST_OPTIONS } from '../../../../lib/runtime/client-options.js';
import { RUNTIME_OPTIONS } from '../../../../lib/runtime/config.js';
import { SERVE_OPTIONS } from '../../../../lib/runtime/serve-options.js';
import { attempt, must } from '../expectations.js';
import type { FuzzTarget } from '../harness.js';
import { FuzzInput } from '../input.js';
import { sampleOf } from '../values.js';

const TABLES = [
  RUNTIME_OPTIONS,
  SERVE_OPTIONS,
  CLIENT_OPTIONS,
  REQUEST_OPTIONS,
  MODEL_OPTIONS,
  FRONTEND_OPTIONS.http,
  FRONTEND_OPTIONS.grpc,
  AGENT_OPTIONS,
  ALLOCATE_OPTIONS,
  REGISTER_OPTIONS,
  LAYOUT_OPTIONS,
];

/** Any values under known names are accepted or rejected, and accepted numbers are packed as what they are. */
function checks(input: FuzzInput): void {
  const table = input.pick<{ names: readonly string[]; check(path: string, options: unknown): void }>(TABLES);
  const options: Record<string, unknown> = {};
  for (let count = input.below(5); count > 0; count--) {
    const name = input.below(16) === 0 ? input.text(4) : input.pick(table.names);
    options[name] = input.below(3) === 0 ? sampleOf(input, 3).value : input.number();
  }
  if (attempt(() => table.check('options', options)) === undefined) return;
  for (const [name, value] of Object.entries(options)) {
    if (!Number.isInteger(value)) continue;
    // An integer of options must not be a float of MessagePack, which the native side rejects.
    must(`${name} is packed as an integer`, packArgs(value)[0] !== 0xcb || !Number.isSafeInteger(value));
  }
}

/** A small manager is made as asked, or rejected. */
function manages(input: FuzzInput): void {
  const options = {
    tier: input.pick(['device', 'host', 'disk', 'tape']),
    blockCount: input.pick([1, 2, 64, input.number() % 1000]),
    blockSize: input.pick([1, 16, 1024, input.number()]),
    eviction: input.pick([undefined, 'lru', 'fifo', 'lineage', 'x', { policy: 'multi-lru', thresholds: [2, 4, 8] }]),
    duplicates: input.pick([undefined, 'allow', 'reject', true]),
    resetOnRelease: input.pick([undefined, true, 1]),
    events: input.pick([undefined, true, { capacity: input.number() % 4096 }]),
    layout: input.pick([
      undefined,
      { layers: 1, heads: input.below(3), headDim: input.pick([8, input.number() % 64]), elementType: 'int8' },
    ]),
    storage: input.pick([undefined, { kind: 'memory', checksums: input.below(2) === 0 }, { kind: 'paper' }]),
  };
  const made = attempt(() => new BlockManager(options as BlockManagerOptions))?.value;
  if (made === undefined) return;
  using manager = made;
  must('all blocks are available', manager.available === options.blockCount);
  must('the tier is that of the options', manager.tier === options.tier);
}

/** Arguments that are any bytes are accepted or rejected by the native side. */
function crosses(input: FuzzInput): void {
  const args = input.bytes.subarray(1);
  const payload = new Uint8Array(32);
  attempt(() => invokeSync(native.hashBlocks, 'fuzz', { args, payload, a: arg('blockSize', 4) }));
  const made = attempt(() => invokeSync(native.sequenceCreate, 'fuzz', { args, payload, a: arg('blockSize', 4) }));
  if (made !== undefined) invokeSync(native.sequenceClose, 'fuzz', { handle: made.value });
}

const PARTS = [checks, manages, crosses];

/** Options are accepted or rejected with an error that is typed. */
export const optionsTarget: FuzzTarget = {
  name: 'options',
  open: () => (bytes) => {
    const input = new FuzzInput(bytes);
    input.pick(PARTS)(input);
  },
};
