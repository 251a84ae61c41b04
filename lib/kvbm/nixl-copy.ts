import { badArgument } from '../errors.js';
import type { NixlAgent } from '../nixl/agent.js';
import type { MemoryRegion, MemorySlice } from '../nixl/memory.js';
import { words } from '../words.js';
import type { Blocks } from './batch.js';
import { checksumsOf, compareChecksums, digest, settleChecksums } from './checksums.js';
import type { ManagerCore } from './core.js';
import { settled, withDeadline } from './in-flight.js';
import { type LayerRange, layerCount } from './layout.js';

function ownRegion(path: string, { region }: ManagerCore): MemoryRegion {
  if (region === undefined)
    throw badArgument(
      new TypeError(`${path}: expected a manager with a region of this thread, got one with a region of another`),
    );
  return region;
}

/**
 * The agent that copies blocks from one manager to the other. Undefined if the copy needs none: both managers have
 * memory or their own file.
 *
 * @throws TypeError if no copy between them is possible
 */
export function agentBetween(path: string, source: ManagerCore, target: ManagerCore): NixlAgent | undefined {
  const both = [source, target];
  const regions = both.filter(({ storage }) => storage === 'region').map((core) => ownRegion(path, core));
  if (regions.length === 0) return undefined;
  const other = both.find(({ storage }) => storage !== 'region' && storage !== 'memory');
  if (other !== undefined) {
    const got = other.storage === undefined ? 'no storage' : "a manager's own file";
    throw badArgument(new TypeError(`${path}: expected memory or a region beside a region, got ${got}`));
  }
  const [first, second] = regions as [MemoryRegion, MemoryRegion?];
  if (second !== undefined && second.agent !== first.agent)
    throw badArgument(
      new TypeError(
        `${path}: expected regions of one agent, got one of '${first.agent.name}' and one of '${second.agent.name}'`,
      ),
    );
  if (second !== undefined && first.memory === 'FILE' && second.memory === 'FILE')
    throw badArgument(new TypeError(`${path}: expected memory on one side, got two files`));
  return first.agent;
}

function slicesOf(core: ManagerCore, region: MemoryRegion, ids: Uint32Array, [first, end]: LayerRange): MemorySlice[] {
  const { blockBytes } = core;
  const layerBytes = blockBytes / layerCount(core);
  return Array.from(ids, (id) => region.slice(id * blockBytes + first * layerBytes, (end - first) * layerBytes));
}

/**
 * Copies blocks if at least one of the two managers has its blocks in a region. Neither side's blocks are released
 * before the last byte has arrived, even if the caller stops waiting.
 *
 * @param source disposed of after the copy
 */
export function copyThroughNixl(
  agent: NixlAgent,
  source: Blocks,
  target: Blocks,
  range: LayerRange,
  signal: AbortSignal | undefined,
): Promise<void> {
  const operation = 'manager.copy';
  const [from, to] = [source.core, target.core];
  const lease = target.lease(operation);
  const endTracking = [from.track(), to.track()];
  const [sourceIds, targetIds] = [source.ids, target.ids];
  const move = async (): Promise<void> => {
    let isSettled = true;
    try {
      const [near, far] = await Promise.all([from.registerWith(agent), to.registerWith(agent)]);
      // A manager that was disposed of in the meantime has released its memory.
      for (const core of [from, to]) core.handle(operation);
      const [out, into] = [slicesOf(from, near, sourceIds, range), slicesOf(to, far, targetIds, range)];
      // Backends for files need the memory on the local side.
      const transfer = near.memory === 'FILE' ? agent.read(into, out) : agent.write(out, into);
      isSettled = await settled(transfer, agent);
      await transfer;
      settleChecksums(operation, to, lease.id, words(checksumsOf(operation, from, source.id(operation))), range);
    } finally {
      if (isSettled) {
        source.dispose();
        lease.release();
        for (const end of endTracking) end();
      }
    }
  };
  const moved = move();
  moved.catch(() => {});
  return withDeadline(moved, { operation, signal });
}

/** Copies bytes to or from a file: NIXL needs them in registered memory. */
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

/**
 * Returns a copy of the bytes of a block that lies in a region.
 *
 * @param block one registered block, which the caller keeps until the promise settles
 * @throws BlockChecksumError
 */
export async function readBlock(operation: string, block: Blocks): Promise<Uint8Array> {
  const { core } = block;
  const region = ownRegion(operation, core);
  const at = (block.ids[0] as number) * core.blockBytes;
  const from = region.slice(at, core.blockBytes);
  const bytes = region.memory === 'FILE' ? new Uint8Array(from.bytes) : await region.download(at, from.bytes);
  if (region.memory === 'FILE') await throughMemory(region.agent, bytes, (memory) => region.agent.read(memory, from));
  const layers = layerCount(core);
  const expected = words(checksumsOf(operation, core, block.id(operation)));
  compareChecksums(operation, layers, [0, layers], expected, digest(operation, core, bytes));
  return bytes;
}

/** Writes all bytes of a mutable block that lies in a region, and keeps its checksums. */
export async function writeBlock(operation: string, blocks: Blocks, index: number, data: Uint8Array): Promise<void> {
  const { core } = blocks;
  const region = ownRegion(operation, core);
  const { agent } = region;
  if (data.length !== core.blockBytes)
    throw badArgument(
      new TypeError(`${operation} bytes: expected ${core.blockBytes}, the size of a block, got ${data.length}`),
    );
  const at = (blocks.ids[index] as number) * core.blockBytes;
  const lease = blocks.lease(operation);
  const endTracking = core.track();
  let isSettled = true;
  try {
    // The caller may change the array after the call.
    const bytes = data.slice();
    const isFile = region.memory === 'FILE';
    const transfer = isFile
      ? throughMemory(agent, bytes, (memory) => agent.write(memory, region.slice(at, bytes.length)))
      : region.upload(bytes, at);
    isSettled = await settled(transfer, agent);
    await transfer;
    const checksums = words(checksumsOf(operation, core, lease.id));
    checksums.set(digest(operation, core, bytes), index * layerCount(core));
    settleChecksums(operation, core, lease.id, checksums);
  } finally {
    if (isSettled) {
      lease.release();
      endTracking();
    }
  }
}
