import { arg, invoke, native } from '../addon/invoke.js';
import type { Arg, Handle } from '../addon/native.js';
import { checkInteger, checkOneOf, MAX_U32, wrongType } from '../check.js';
import { badArgument, ClosedError } from '../errors.js';
import { integer, type OptionTable, optionTable } from '../options.js';
import type { NixlAgent } from './agent.js';
import { checkedLimit, handled, LIMIT_ROWS, type WaitLimit, withinLimit } from './limit.js';
import { MEMORY_TYPES, MemoryRegion, MemorySlice, type MemoryType } from './memory.js';
import { type NixlPeer, RemoteMemory } from './peer.js';
import type { LocalMemory, TransferOperation } from './plan.js';

/** Blocks of memory on one side, looked up once. A transfer names them by index. `NixlAgent.blocks` makes a list. */
export class BlockList implements AsyncDisposable {
  #handle: Handle<'nixlBlocks'> | undefined;
  #released: Promise<void> = Promise.resolve();

  /** @internal */
  constructor(
    readonly agent: NixlAgent,
    /** The peer that owns the blocks. Undefined for blocks of this agent. */
    readonly peer: NixlPeer | undefined,
    /** @internal The bytes of every block, or of each one. */
    private readonly sizes: number | readonly number[],
    /** The number of blocks. */
    readonly length: number,
    handle: Handle<'nixlBlocks'>,
    /** @internal Its regions that are buffers of the caller. */
    readonly borrowed: readonly MemoryRegion[],
  ) {
    this.#handle = handle;
  }

  /** Releases the list. Transfers in flight continue. A limit ends the wait, not the release. Idempotent. */
  async release(limit: WaitLimit = {}): Promise<void> {
    const options = checkedLimit('blocks.release', limit);
    const handle = this.#handle;
    this.#handle = undefined;
    if (handle !== undefined) this.#released = handled(invoke(native.nixlBlocksRelease, 'blocks.release', { handle }));
    return withinLimit(options, () => this.#released);
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

  /** @internal The handle. @throws ClosedError after the release */
  handle(operation: string): Handle<'nixlBlocks'> {
    if (this.#handle === undefined) throw new ClosedError('the block list', operation);
    return this.#handle;
  }
}

/** A transfer by index in its native form. */
interface TransferParts {
  readonly handle: Handle<'nixlBlocks'>;
  readonly other: Handle<'nixlBlocks'>;
  readonly a: Arg<'operation'>;
  readonly payload: Uint8Array;
}

/** Checks both sides of a transfer by index and converts it to the native form. */
export function transferParts(
  path: string,
  agent: NixlAgent,
  operation: TransferOperation,
  local: BlockList,
  localIndices: Int32Array,
  remote: BlockList,
  remoteIndices: Int32Array,
): TransferParts {
  checkOneOf(`${path} operation`, operation, ['READ', 'WRITE']);
  agent.handle(path);
  for (const [name, list] of [
    ['local', local],
    ['remote', remote],
  ] as const) {
    if (!(list instanceof BlockList) || list.agent !== agent)
      wrongType(`${path} ${name}`, `a block list of the agent '${agent.name}'`, list);
  }
  if (local.peer !== undefined)
    throw badArgument(
      new TypeError(`${path} local: expected blocks of this agent, got blocks of '${local.peer.name}'`),
    );
  for (const list of [local, remote]) for (const region of list.borrowed) region.assertAttached(path);
  const payload = indexPayload(path, localIndices, remoteIndices);
  const a = arg('operation', operation === 'READ' ? 0 : 1);
  return { handle: local.handle(path), other: remote.handle(path), a, payload };
}

/** The indices of both sides in their native form. */
function indexPayload(path: string, local: Int32Array, remote: Int32Array): Uint8Array {
  for (const [name, list] of [
    ['localIndices', local],
    ['remoteIndices', remote],
  ] as const) {
    if (!(list instanceof Int32Array)) wrongType(`${path} ${name}`, 'an Int32Array', list);
  }
  if (local.length !== remote.length)
    throw badArgument(
      new RangeError(`${path} remoteIndices: expected ${local.length} as on the local side, got ${remote.length}`),
    );
  if (local.length === 0) throw badArgument(new RangeError(`${path} localIndices: expected at least one, got none`));
  const both = new Int32Array(local.length * 2);
  both.set(local);
  both.set(remote, local.length);
  return new Uint8Array(both.buffer);
}

/** How memory is cut into blocks. */
export interface BlocksOptions extends WaitLimit {
  /** The bytes of each block, below 4 GiB. @default each item of the memory is one block */
  readonly blockBytes?: number;
  /**
   * The bytes from the begin of a block to that of the next one. With more than `blockBytes`, bytes between the blocks
   * are left out, such as other heads or layers. As many blocks are cut as fit into each item.
   *
   * @default blockBytes, and each item must have whole blocks only
   */
  readonly stride?: number;
  /** The bytes before the first block of each item. @default 0 */
  readonly offset?: number;
}

const BLOCKS_OPTIONS: OptionTable<BlocksOptions> = optionTable<BlocksOptions>({
  blockBytes: integer(1, MAX_U32).about('The bytes of each block.'),
  stride: integer(1).about('The bytes from the begin of a block to that of the next one.'),
  offset: integer(0).about('The bytes before the first block.'),
  ...LIMIT_ROWS,
});

/** Checks the options of a list. A number is the bytes of each block. */
export function blocksOptions(operation: string, options: number | BlocksOptions): BlocksOptions {
  const path = `${operation} options`;
  const given: BlocksOptions = typeof options === 'number' ? { blockBytes: options } : options;
  BLOCKS_OPTIONS.check(path, given);
  const { blockBytes, stride } = given;
  if (stride === undefined) return given;
  if (blockBytes === undefined)
    throw badArgument(
      new TypeError(`${path}.blockBytes: expected the bytes of each block with a stride, got undefined`),
    );
  checkInteger(`${path}.stride`, stride, blockBytes);
  return given;
}

/** The most blocks of a list. Each takes some 200 bytes in this process. */
const MAX_BLOCKS = 2 ** 22;
const RUN_FIELDS = 6;

/** Blocks of one item of the memory, as the native side cuts them. */
interface Cut {
  readonly bytes: number;
  readonly stride: number;
  readonly count: number;
}

/** The blocks of an item of `whole` bytes. */
function cutOf(path: string, whole: number, { blockBytes, stride, offset = 0 }: BlocksOptions): Cut {
  const bytes = blockBytes ?? whole - offset;
  if (bytes <= 0 || offset + bytes > whole)
    throw badArgument(
      new RangeError(`${path}: expected at least ${offset + Math.max(1, bytes)} bytes, for one block, got ${whole}`),
    );
  if (stride !== undefined) return { bytes, stride, count: Math.floor((whole - offset - bytes) / stride) + 1 };
  if ((whole - offset) % bytes === 0) return { bytes, stride: bytes, count: (whole - offset) / bytes };
  const after = offset === 0 ? '' : ` after ${offset}`;
  throw badArgument(new RangeError(`${path}: expected a multiple of ${bytes} bytes${after}, got ${whole - offset}`));
}

interface BlocksPlan {
  readonly peer: NixlPeer | undefined;
  readonly memory: Arg<'memory'>;
  readonly payload: Uint8Array;
  readonly sizes: number | readonly number[];
  readonly count: number;
}

/** Checks memory and converts its blocks to the native form, which cuts them; see `native/nixl/entries.h`. */
export function blocksOf(
  operation: string,
  agent: NixlAgent,
  memory: LocalMemory | RemoteMemory | readonly LocalMemory[] | readonly RemoteMemory[],
  options: BlocksOptions,
): BlocksPlan {
  const runs = (Array.isArray(memory) ? memory : [memory]) as readonly (LocalMemory | RemoteMemory)[];
  if (runs.length === 0) throw badArgument(new RangeError(`${operation} memory: expected at least one run, got none`));
  const first = runs[0] as LocalMemory | RemoteMemory;
  const peer = first instanceof RemoteMemory ? first.peer : undefined;
  // A value of another type is refused below.
  const kind =
    first instanceof MemorySlice
      ? first.region.memory
      : ((first as MemoryRegion | RemoteMemory | null)?.memory as MemoryType);
  let count = 0;
  const numbers = new Float64Array(runs.length * RUN_FIELDS);
  const sizes = runs.map((run, index) => {
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
      region.assertOpen(path);
      [id, start, device] = [region.id, run instanceof MemorySlice ? run.offset : 0, region.device];
    }
    if ((run instanceof MemorySlice ? run.region.memory : run.memory) !== kind)
      throw badArgument(new TypeError(`${path}: expected ${kind} as the first, got another kind of memory`));
    const cut = cutOf(path, run.bytes, options);
    count += cut.count;
    // A descriptor of a peer may claim any length.
    if (count > MAX_BLOCKS)
      throw badArgument(
        new RangeError(`${path}: expected at most ${MAX_BLOCKS} blocks in all, got ${count} of ${cut.bytes} bytes`),
      );
    numbers.set([id, start + (options.offset ?? 0), cut.bytes, cut.stride, cut.count, device], index * RUN_FIELDS);
    return cut.bytes;
  });
  const payload = new Uint8Array(numbers.buffer);
  const memoryKind = arg('memory', MEMORY_TYPES.indexOf(kind));
  return { peer, memory: memoryKind, payload, sizes: options.blockBytes ?? sizes, count };
}
