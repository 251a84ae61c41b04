import { type CallParts, invoke, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { checkInteger, checkOneOf, wrongType } from '../check.js';
import { ClosedError } from '../errors.js';
import type { NixlAgent } from './agent.js';
import { kept, onlyLimited, type WaitLimit, waited } from './limit.js';
import { MEMORY_TYPES, MemoryRegion, MemorySlice, type MemoryType } from './memory.js';
import { type NixlPeer, RemoteMemory } from './peer.js';
import type { LocalMemory, TransferOperation } from './plan.js';

/**
 * Equal or unequal blocks of memory on one side, looked up once; a transfer names them by index. `NixlAgent.blocks` makes
 * them.
 */
export class BlockList implements AsyncDisposable {
  #handle: Handle | undefined;
  #released: Promise<void> = Promise.resolve();

  /** @internal */
  constructor(
    readonly agent: NixlAgent,
    /** Whose blocks they are; undefined for this agent's. */
    readonly peer: NixlPeer | undefined,
    /** @internal Of every block, or of each. */
    private readonly sizes: number | readonly number[],
    /** How many. */
    readonly length: number,
    handle: Handle,
  ) {
    this.#handle = handle;
  }

  /** Idempotent. Transfers under way go on. A limit ends the wait, not the release. */
  async release(limit: WaitLimit = {}): Promise<void> {
    const options = onlyLimited('blocks.release', limit);
    const handle = this.#handle;
    this.#handle = undefined;
    if (handle !== undefined) this.#released = kept(invoke(native.nixlBlocksRelease, 'blocks.release', { handle }));
    return waited(options, () => this.#released);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }

  /** @internal */
  bytesOf(indices: Int32Array): number {
    const { sizes } = this;
    return typeof sizes === 'number'
      ? sizes * indices.length
      : indices.reduce((sum, index) => sum + (sizes[index] ?? 0), 0);
  }

  /** @internal */
  open(operation: string): Handle {
    if (this.#handle === undefined) throw new ClosedError('the block list', operation);
    return this.#handle;
  }
}

/** Checks both sides of a transfer by index and gives it as the parts of a native call. */
export function transferParts(
  path: string,
  agent: NixlAgent,
  operation: TransferOperation,
  local: BlockList,
  localIndices: Int32Array,
  remote: BlockList,
  remoteIndices: Int32Array,
): CallParts {
  checkOneOf(`${path} operation`, operation, ['READ', 'WRITE']);
  agent.open(path);
  for (const [name, list] of [
    ['local', local],
    ['remote', remote],
  ] as const) {
    if (!(list instanceof BlockList) || list.agent !== agent)
      wrongType(`${path} ${name}`, `a block list of the agent '${agent.name}'`, list);
  }
  if (local.peer !== undefined)
    throw new TypeError(`${path} local: expected blocks of this agent, got blocks of '${local.peer.name}'`);
  const payload = indexPayload(path, localIndices, remoteIndices);
  return { handle: local.open(path), other: remote.open(path), a: operation === 'READ' ? 0 : 1, payload };
}

/** Both sides' indices as the native side takes them. */
function indexPayload(path: string, local: Int32Array, remote: Int32Array): Uint8Array {
  for (const [name, list] of [
    ['localIndices', local],
    ['remoteIndices', remote],
  ] as const) {
    if (!(list instanceof Int32Array)) wrongType(`${path} ${name}`, 'an Int32Array', list);
  }
  if (local.length !== remote.length)
    throw new RangeError(`${path} remoteIndices: expected ${local.length} as on the local side, got ${remote.length}`);
  if (local.length === 0) throw new RangeError(`${path} localIndices: expected at least one, got none`);
  const both = new Int32Array(local.length * 2);
  both.set(local);
  both.set(remote, local.length);
  return new Uint8Array(both.buffer);
}

interface BlocksPlan {
  readonly peer: NixlPeer | undefined;
  readonly kinds: number;
  readonly payload: Uint8Array;
  readonly sizes: number | readonly number[];
  readonly count: number;
}

/** Checks memory that is to be cut into blocks and gives them in the native form; see `native/nixl/entries.h`. */
export function blocksOf(
  operation: string,
  agent: NixlAgent,
  memory: LocalMemory | RemoteMemory | readonly LocalMemory[] | readonly RemoteMemory[],
  blockBytes: number | undefined,
): BlocksPlan {
  const runs = (Array.isArray(memory) ? memory : [memory]) as readonly (LocalMemory | RemoteMemory)[];
  if (runs.length === 0) throw new RangeError(`${operation} memory: expected at least one run, got none`);
  if (blockBytes !== undefined) checkInteger(`${operation} blockBytes`, blockBytes, 1, 2 ** 32 - 1);
  const numbers: number[] = [];
  const first = runs[0] as LocalMemory | RemoteMemory;
  const peer = first instanceof RemoteMemory ? first.peer : undefined;
  // What is neither is refused below.
  const kind =
    first instanceof MemorySlice
      ? first.region.memory
      : ((first as MemoryRegion | RemoteMemory | null)?.memory as MemoryType);
  for (const [index, run] of runs.entries()) {
    const path = `${operation} memory[${index}]`;
    let [id, start, device] = [0, 0, 0];
    if (run instanceof RemoteMemory) {
      if (run.peer !== peer || run.peer.agent !== agent)
        wrongType(path, `memory of one peer of the agent '${agent.name}'`, run);
      [start, device] = [run.at, run.device];
    } else {
      const region = run instanceof MemorySlice ? run.region : run;
      if (!(region instanceof MemoryRegion) || region.agent !== agent || peer !== undefined)
        wrongType(path, `a region of the agent '${agent.name}'`, run);
      region.open(path);
      [id, start, device] = [region.id, run instanceof MemorySlice ? run.offset : 0, region.device];
    }
    if ((run instanceof MemorySlice ? run.region.memory : run.memory) !== kind)
      throw new TypeError(`${path}: expected ${kind} as before`);
    const bytes = blockBytes ?? run.bytes;
    if (bytes === 0 || run.bytes % bytes !== 0)
      throw new RangeError(`${path}: expected a multiple of ${bytes} bytes, got ${run.bytes}`);
    for (let offset = 0; offset < run.bytes; offset += bytes) numbers.push(id, start + offset, bytes, device);
  }
  const payload = new Uint8Array(Float64Array.from(numbers).buffer);
  const sizes = blockBytes ?? runs.map(({ bytes }) => bytes);
  return { peer, kinds: MEMORY_TYPES.indexOf(kind), payload, sizes, count: numbers.length / 4 };
}
