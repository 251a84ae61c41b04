import { arg } from '../addon/invoke.js';
import type { Arg } from '../addon/native.js';
import { wrongType } from '../check.js';
import { badArgument, NixlError } from '../errors.js';
import type { NixlAgent } from './agent.js';
import { MEMORY_TYPES, MemoryRegion, MemorySlice } from './memory.js';
import { type NixlPeer, RemoteMemory } from './peer.js';

/** Memory of this agent. */
export type LocalMemory = MemoryRegion | MemorySlice;
/** The other end of a transfer: a peer's memory, or memory of this agent such as a file. */
export type TransferTarget = RemoteMemory | LocalMemory;

/** READ fills the local memory, WRITE the remote memory. */
export type TransferOperation = 'READ' | 'WRITE';

/** A transfer in its native form; see `native/nixl/entries.h`. */
export interface Plan {
  readonly peer: NixlPeer;
  readonly kinds: Arg<'transferKinds'>;
  readonly payload: Uint8Array;
  readonly bytes: number;
  readonly runs: number;
}

const FIELDS = 5;
const ONE = new Float64Array(FIELDS);
const ONE_BYTES = new Uint8Array(ONE.buffer);

const kindOf = (memory: (typeof MEMORY_TYPES)[number]): number => MEMORY_TYPES.indexOf(memory);

const isLocal = (memory: unknown): memory is LocalMemory =>
  memory instanceof MemoryRegion || memory instanceof MemorySlice;

const ownerOf = (memory: LocalMemory): MemoryRegion => (memory instanceof MemorySlice ? memory.region : memory);

/** The path of an argument. Only built for errors: the usual case makes no string. */
const pathOf = (path: string, side: 'local' | 'remote', index: number): string =>
  `${path} ${side}${index === -1 ? '' : `[${index}]`}`;

function checkLocal(
  path: string,
  side: 'local' | 'remote',
  index: number,
  agent: NixlAgent,
  local: unknown,
): asserts local is LocalMemory {
  if (!isLocal(local)) wrongType(pathOf(path, side, index), 'a MemoryRegion or a slice of one', local);
  const region = ownerOf(local);
  if (region.agent !== agent) {
    throw badArgument(
      new TypeError(
        `${pathOf(path, side, index)}: expected a region of the agent '${agent.name}', ` +
          `got one of another agent, '${region.agent.name}'`,
      ),
    );
  }
  if (!region.isOpen) region.assertOpen(pathOf(path, side, index));
}

function peerOf(path: string, index: number, agent: NixlAgent, target: unknown): NixlPeer {
  if (target instanceof RemoteMemory) {
    if (target.peer.agent === agent) return target.peer;
    throw badArgument(
      new TypeError(
        `${pathOf(path, 'remote', index)}: expected a peer of the agent '${agent.name}', ` +
          `got one of another agent, '${target.peer.agent.name}'`,
      ),
    );
  }
  if (!isLocal(target)) {
    wrongType(
      pathOf(path, 'remote', index),
      'memory of a peer (peer.memory(descriptor)) or a region of this agent',
      target,
    );
  }
  checkLocal(path, 'remote', index, agent, target);
  return agent.self;
}

function fill(numbers: Float64Array, at: number, local: LocalMemory, target: TransferTarget): void {
  const [region, offset] = local instanceof MemoryRegion ? [local, 0] : [local.region, local.offset];
  numbers[at] = region.id;
  numbers[at + 1] = offset;
  numbers[at + 2] = local.bytes;
  if (target instanceof RemoteMemory) {
    numbers[at + 3] = target.at;
    numbers[at + 4] = target.device;
  } else {
    const [other, start] = target instanceof MemoryRegion ? [target, 0] : [target.region, target.offset];
    numbers[at + 3] = Number(other.address) + start;
    numbers[at + 4] = other.device;
  }
}

const memoryOf = (end: LocalMemory | TransferTarget): number =>
  kindOf(end instanceof MemorySlice ? end.region.memory : end.memory);

/**
 * Checks both ends of a transfer and converts it to the native form. The payload of a single run is valid until the
 * next plan only: the native side copies it at once.
 */
export function planOf(
  path: string,
  agent: NixlAgent,
  operation: TransferOperation,
  local: LocalMemory | readonly LocalMemory[],
  target: TransferTarget | readonly TransferTarget[],
): Plan {
  const locals = Array.isArray(local) ? (local as readonly LocalMemory[]) : undefined;
  const targets = Array.isArray(target) ? (target as readonly TransferTarget[]) : undefined;
  if ((locals === undefined) !== (targets === undefined))
    throw badArgument(
      new TypeError(`${path}: expected one run on both sides or a list on both sides, got one of each`),
    );
  const count = locals === undefined ? 1 : locals.length;
  if (targets !== undefined && targets.length !== count)
    throw badArgument(
      new RangeError(`${path} remote: expected ${count} runs as on the local side, got ${targets.length}`),
    );
  if (count === 0) throw badArgument(new RangeError(`${path} local: expected at least one run, got none`));
  const numbers = locals === undefined ? ONE : new Float64Array(count * FIELDS);
  let peer: NixlPeer | undefined;
  let bytes = 0;
  let kinds = 0;
  for (let index = 0; index < count; index++) {
    const here = locals === undefined ? (local as LocalMemory) : (locals[index] as LocalMemory);
    const there = targets === undefined ? (target as TransferTarget) : (targets[index] as TransferTarget);
    const at = locals === undefined ? -1 : index;
    checkLocal(path, 'local', at, agent, here);
    const its = peerOf(path, at, agent, there);
    if (here.bytes !== there.bytes)
      throw badArgument(
        new RangeError(
          `${pathOf(path, 'remote', at)}: expected ${here.bytes} bytes as on the local side, got ${there.bytes}`,
        ),
      );
    const pair = (operation === 'READ' ? 0 : 1) + memoryOf(here) * 2 ** 8 + memoryOf(there) * 2 ** 16;
    if (peer === undefined) {
      peer = its;
      kinds = pair;
    } else if (its !== peer) {
      throw badArgument(
        new TypeError(
          `${pathOf(path, 'remote', at)}: expected memory of one peer, '${peer.name}', got memory of '${its.name}'`,
        ),
      );
    } else if (pair !== kinds) {
      throw badArgument(
        new TypeError(
          `${path}[${index}]: expected the same kinds of memory as the first run: a transfer has one kind on each side`,
        ),
      );
    }
    fill(numbers, index * FIELDS, here, there);
    bytes += here.bytes;
  }
  if (bytes === 0) throw badArgument(new RangeError(`${path} local: expected at least one byte, got none`));
  const payload = locals === undefined ? ONE_BYTES : new Uint8Array(numbers.buffer);
  return { peer: peer as NixlPeer, kinds: arg('transferKinds', kinds), payload, bytes, runs: count };
}

/** The regions of a plan that are buffers of the caller: each later post checks them. */
export function borrowedOf(...sides: (TransferTarget | readonly TransferTarget[])[]): readonly MemoryRegion[] {
  const regions = new Set<MemoryRegion>();
  for (const side of sides)
    for (const memory of Array.isArray(side) ? (side as readonly TransferTarget[]) : [side as TransferTarget])
      if (isLocal(memory) && ownerOf(memory).isBorrowed) regions.add(ownerOf(memory));
  return [...regions];
}

export function refuseNotification(path: string, kinds: number): void {
  if (Math.floor(kinds / 2 ** 16) === kindOf('FILE')) {
    throw new NixlError('NotImplemented', `${path}: a transfer with a file cannot carry a notification`, {
      reason: 'nixl.not_supported',
      operation: path,
    });
  }
}
