import { native } from '../addon/invoke.js';
import type { NixlAgent } from '../nixl/agent.js';
import type { MemoryRegion, MemorySlice } from '../nixl/memory.js';
import type { MutableBlocks, RegisteredBlocks } from './blocks.js';
import { BlockChecksumError, call } from './errors.js';
import { bigWords } from './hashes.js';
import { landed, limited } from './in-flight.js';
import type { LayerRange } from './layout.js';
import type { BlockManager } from './manager.js';
import { pair } from './sequence.js';

const layersOf = ({ layout }: BlockManager): number => layout?.layers ?? 0;

function regionOf(path: string, { region }: BlockManager): MemoryRegion {
  if (region === undefined)
    throw new TypeError(`${path}: expected a manager whose region is this thread's, got one of another thread's`);
  return region;
}

/**
 * The agent that copies blocks from one manager to the other; undefined where they need none, both with memory or a file of
 * their own.
 *
 * @throws TypeError where there is no way between them
 */
export function carrierOf(path: string, source: BlockManager, target: BlockManager): NixlAgent | undefined {
  const both = [source, target];
  const regions = both.filter(({ storage }) => storage === 'region').map((manager) => regionOf(path, manager));
  if (regions.length === 0) return undefined;
  const other = both.find(({ storage }) => storage !== 'region' && storage !== 'memory');
  if (other !== undefined)
    throw new TypeError(
      `${path}: expected memory or a region beside a region, got ${other.storage === undefined ? 'no storage' : "a manager's own file"}`,
    );
  const [first, second] = regions as [MemoryRegion, MemoryRegion?];
  if (second !== undefined && second.agent !== first.agent)
    throw new TypeError(
      `${path}: expected regions of one agent, got one of '${first.agent.name}' and one of '${second.agent.name}'`,
    );
  if (second !== undefined && first.memory === 'FILE' && second.memory === 'FILE')
    throw new TypeError(`${path}: expected memory on one side, got two files`);
  return first.agent;
}

/** Both have for each block a checksum a layer; 0 where none is known. */
function compare(
  operation: string,
  layers: number,
  [first, end]: LayerRange,
  expected: BigUint64Array,
  got: BigUint64Array,
): void {
  const wrong = expected.findIndex((checksum, index) => {
    const layer = index % layers;
    return layer >= first && layer < end && checksum !== 0n && checksum !== got[index];
  });
  if (wrong >= 0)
    throw new BlockChecksumError(
      `${operation}: block ${Math.floor(wrong / layers)}: its bytes are not those that were stored`,
      operation,
    );
}

/**
 * Compares what mutable blocks hold now with the checksums that it should have; where the bytes cannot be looked at, keeps
 * those for whoever reads them.
 *
 * @throws BlockChecksumError
 */
export function settleChecksums(
  operation: string,
  manager: BlockManager,
  batch: number,
  checksums: BigUint64Array,
  range: LayerRange = [0, layersOf(manager)],
): void {
  const layers = layersOf(manager);
  const handle = manager.handle(operation);
  if (manager.storage !== 'region') {
    if (checksums.some((checksum) => checksum !== 0n))
      compare(operation, layers, range, checksums, bigWords(call(native.blocksDigest, operation, handle, batch)));
    return;
  }
  const [first, end] = range;
  const kept = checksums.filter((_, index) => index % layers >= first && index % layers < end);
  call(native.blocksNote, operation, handle, batch, pair(first, end - first), new Uint8Array(kept.buffer));
}

function slicesOf(
  manager: BlockManager,
  region: MemoryRegion,
  ids: Uint32Array,
  [first, end]: LayerRange,
): MemorySlice[] {
  const { blockBytes } = manager;
  const layerBytes = blockBytes / layersOf(manager);
  return Array.from(ids, (id) => region.slice(id * blockBytes + first * layerBytes, (end - first) * layerBytes));
}

/**
 * Copies blocks of which those of one manager at least lie in a region. Both are held until no byte can be on its way any
 * more, whoever waits for it.
 */
export function copyThroughNixl(
  agent: NixlAgent,
  from: RegisteredBlocks,
  to: MutableBlocks,
  range: LayerRange,
  signal: AbortSignal | undefined,
): Promise<void> {
  const operation = 'manager.copy';
  const [source, target] = [from.manager, to.manager];
  const held = from.clone();
  const lent = to.lend(operation);
  const landings = [source.fly(), target.fly()];
  const [sourceIds, targetIds] = [held.ids, to.ids];
  const move = async (): Promise<void> => {
    let isOver = true;
    try {
      const [near, far] = await Promise.all([source.registerWith(agent), target.registerWith(agent)]);
      // Disposed of meanwhile it has released its memory.
      for (const manager of [source, target]) manager.handle(operation);
      const [out, into] = [slicesOf(source, near, sourceIds, range), slicesOf(target, far, targetIds, range)];
      // Backends of files take the memory for the local side.
      const sending = near.memory === 'FILE' ? agent.read(into, out) : agent.write(out, into);
      isOver = await landed(sending, agent);
      await sending;
      settleChecksums(operation, target, lent.id, bigWords(held.checksums()), range);
    } finally {
      if (isOver) {
        held.dispose();
        lent.giveBack();
        for (const land of landings) land();
      }
    }
  };
  const moved = move();
  moved.catch(() => {});
  return limited(moved, { operation, signal });
}

/** A file's bytes go through memory that is registered for it. */
async function throughMemory(
  agent: NixlAgent,
  bytes: Uint8Array,
  move: (memory: MemoryRegion) => Promise<unknown>,
): Promise<void> {
  const memory = await agent.register(bytes);
  try {
    await move(memory);
  } finally {
    await memory.release();
  }
}

/** A copy of the bytes of a block in a region. */
export async function readBlock(operation: string, blocks: RegisteredBlocks, index: number): Promise<Uint8Array> {
  const { manager } = blocks;
  const region = regionOf(operation, manager);
  using held = blocks.clone(index, index + 1);
  const at = (held.ids[0] as number) * manager.blockBytes;
  const from = region.slice(at, manager.blockBytes);
  const bytes = region.memory === 'FILE' ? new Uint8Array(from.bytes) : await region.download(at, from.bytes);
  if (region.memory === 'FILE') await throughMemory(region.agent, bytes, (memory) => region.agent.read(memory, from));
  const layers = layersOf(manager);
  const handle = manager.handle(operation);
  compare(
    operation,
    layers,
    [0, layers],
    bigWords(held.checksums()),
    bigWords(call(native.blocksDigest, operation, handle, 0, 0, bytes)),
  );
  return bytes;
}

/** Writes all of a mutable block in a region, and keeps its checksums. */
export async function writeBlock(
  operation: string,
  blocks: MutableBlocks,
  index: number,
  data: Uint8Array,
): Promise<void> {
  const { manager } = blocks;
  const region = regionOf(operation, manager);
  const { agent } = region;
  if (data.length !== manager.blockBytes)
    throw new TypeError(`${operation} bytes: expected ${manager.blockBytes}, a block's, got ${data.length}`);
  const at = (blocks.ids[index] as number) * manager.blockBytes;
  const lent = blocks.lend(operation);
  const land = manager.fly();
  let isOver = true;
  try {
    // The caller may go on with the array.
    const bytes = data.slice();
    const isFile = region.memory === 'FILE';
    const sending = isFile
      ? throughMemory(agent, bytes, (memory) => agent.write(memory, region.slice(at, bytes.length)))
      : region.upload(bytes, at);
    isOver = await landed(sending, agent);
    await sending;
    const handle = manager.handle(operation);
    const checksums = bigWords(call(native.blocksChecksums, operation, handle, lent.id));
    checksums.set(bigWords(call(native.blocksDigest, operation, handle, 0, 0, bytes)), index * layersOf(manager));
    settleChecksums(operation, manager, lent.id, checksums);
  } finally {
    if (isOver) {
      lent.giveBack();
      land();
    }
  }
}
