import { arg, invoke, invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { checkViewBytes } from '../addon/views.js';
import { checkInteger, checkObject, checkOneOf, wrongType } from '../check.js';
import { badArgument, NixlError } from '../errors.js';
import type { NixlAgent } from './agent.js';
import { checkedLimit, handled, type WaitLimit, withinLimit } from './limit.js';
import { pinned } from './pinned.js';

/** Kinds of memory, with NIXL's names. Source: `nixl_types.h`. */
export const MEMORY_TYPES = ['DRAM', 'VRAM', 'BLOCK', 'OBJECT', 'FILE'] as const;
/**
 * One of {@link MEMORY_TYPES}.
 * @useDeclaredType
 */
export type MemoryType = (typeof MEMORY_TYPES)[number];

/** Describes a region to a peer. Plain data that survives JSON. */
export interface MemoryDescriptor {
  /** The name of the agent that registered the region. */
  readonly agent: string;
  /** The address of the first byte, in hexadecimal. 0x0 for a file. */
  readonly address: string;
  readonly bytes: number;
  readonly memory: MemoryType;
  /** The ordinal of a device, the descriptor of a file, else 0. */
  readonly device: number;
}

/** Identifies a region to another thread of this process; see `MemoryRegion.token`. */
export interface RegionToken {
  readonly kind: 'dynamo-node.region';
  readonly process: number;
  readonly id: number;
  readonly bytes: number;
}

/** Checks a range of bytes and returns its length. Without `bytes`, the range ends with the whole. */
export function checkByteRange(path: string, offset: number, bytes: number | undefined, whole: number): number {
  checkInteger(`${path} offset`, offset, 0, whole);
  if (bytes === undefined) return whole - offset;
  checkInteger(`${path} bytes`, bytes, 0, whole - offset);
  return bytes;
}

/** A range of a registered region. */
export class MemorySlice {
  /** @internal */
  constructor(
    readonly region: MemoryRegion,
    readonly offset: number,
    readonly bytes: number,
  ) {}

  /** A part of it, from `offset` on. Without `bytes`, all up to the end. */
  slice(offset: number, bytes?: number): MemorySlice {
    const length = checkByteRange('slice', offset, bytes, this.bytes);
    return new MemorySlice(this.region, this.offset + offset, length);
  }
}

/**
 * Memory that is registered with an agent. It stays registered until `release`, and until no transfer can use it any
 * longer: an aborted transfer continues for a while. Memory that this package allocated stays allocated as long.
 */
export class MemoryRegion implements AsyncDisposable {
  /** Looked up on first use: of thousands of regions, most are only named by id in transfers. */
  #handle: Handle<'nixlRegion'> | undefined;
  #isOpen = true;
  /** Whether its buffer was found to be detached while it was registered. */
  #isDetached = false;
  #view: Uint8Array | null | undefined;
  #released: Promise<void> | undefined;
  readonly #owned: Uint8Array | undefined;

  /** @internal */
  constructor(
    readonly agent: NixlAgent,
    /** @internal */
    readonly id: number,
    private readonly at: number,
    readonly bytes: number,
    readonly memory: MemoryType,
    /** The ordinal of a device, the descriptor of a file, else 0. */
    readonly device: number,
    owned?: Uint8Array,
  ) {
    this.#owned = owned;
  }

  /** The address of the first byte. 0 for a file. */
  get address(): bigint {
    return BigInt(this.at);
  }

  /** False after its release, after the close of its agent, and if its buffer was detached. */
  get isOpen(): boolean {
    return this.#isOpen && this.agent.isOpen && !this.#lacksBuffer();
  }

  /** @internal Whether it is a buffer of the caller. */
  get isBorrowed(): boolean {
    return this.#owned !== undefined;
  }

  /** The buffer has a fixed size, so only a detached one is shorter. */
  #lacksBuffer(): boolean {
    return this.#owned !== undefined && this.#owned.byteLength !== this.bytes;
  }

  /**
   * The bytes themselves, without a copy: allocated host memory, or the registered buffer. Null for files, and for
   * memory that only a device can read. Empty after `release`, and if the buffer was detached.
   *
   * @throws RangeError if the region is larger than a view can be: 4 GiB in Node.js 20
   */
  get view(): Uint8Array | null {
    if (this.#owned !== undefined) return this.#owned;
    if (this.#view === undefined && !this.isOpen) return this.memory === 'DRAM' ? new Uint8Array() : null;
    if (this.#view === undefined) {
      checkViewBytes('region.view', this.bytes);
      const buffer = native.nixlRegionView(this.handle('region.view'));
      this.#view = buffer === null ? null : new Uint8Array(buffer);
    }
    return this.#view ?? null;
  }

  /** A part of it, from `offset` on. Without `bytes`, all up to the end. */
  slice(offset: number, bytes?: number): MemorySlice {
    return new MemorySlice(this, offset, checkByteRange('region.slice', offset, bytes, this.bytes));
  }

  /** Describes the region to a peer that has the agent's metadata. */
  descriptor(): MemoryDescriptor {
    const { address, bytes, memory, device } = this;
    return { agent: this.agent.name, address: `0x${address.toString(16)}`, bytes, memory, device };
  }

  /** A token for a worker thread, which attaches the memory with `attachRegion`. */
  token(): RegionToken {
    this.assertOpen('region.token');
    return { kind: 'dynamo-node.region', process: process.pid, id: this.id, bytes: this.bytes };
  }

  /** Copies bytes into the region, also into device memory. A limit ends the wait: the copy may still happen later. */
  async upload(data: Uint8Array, offset = 0, limit: WaitLimit = {}): Promise<void> {
    const operation = 'region.upload';
    if (!(data instanceof Uint8Array)) wrongType(`${operation} data`, 'a Uint8Array', data);
    checkByteRange(operation, offset, data.byteLength, this.bytes);
    const options = checkedLimit(operation, limit);
    await invoke(
      native.nixlRegionWrite,
      operation,
      { handle: this.handle(operation), a: arg('offset', offset), payload: data },
      options,
    );
  }

  /** A copy of its bytes, also of device memory. Without `bytes`, all up to the end. */
  async download(offset = 0, bytes?: number, limit: WaitLimit = {}): Promise<Uint8Array> {
    const operation = 'region.download';
    const length = checkByteRange(operation, offset, bytes, this.bytes);
    const options = checkedLimit(operation, limit);
    return invoke(
      native.nixlRegionRead,
      operation,
      { handle: this.handle(operation), a: arg('offset', offset), b: arg('byteLength', length) },
      options,
    );
  }

  /**
   * Releases the region. The view becomes empty at once and new transfers are refused. Prepared transfers and block
   * lists that use the region are released. Resolves when the last transfer that may use the memory has ended. A limit
   * ends the wait, not the release. Idempotent.
   */
  async release(limit: WaitLimit = {}): Promise<void> {
    const operation = 'region.release';
    const options = checkedLimit(operation, limit);
    if (this.#isOpen) {
      const handle = this.#find(operation);
      this.#close();
      if (this.#view) native.bufferDetach(this.#view.buffer as ArrayBuffer);
      this.#released = handled(
        invoke(native.nixlRegionRelease, operation, { handle }).then(() => void pinned.delete(this.id)),
      );
    }
    return withinLimit(options, () => this.#released as Promise<void>);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }

  /** @internal @throws NixlError if its buffer was detached. The region is released then. */
  assertAttached(operation: string): void {
    if (!this.noticeDetached()) return;
    throw new NixlError(
      'InvalidRequest',
      `${operation}: the buffer of the region of ${this.bytes} bytes at 0x${this.at.toString(16)} was detached while ` +
        'it was registered; register memory of agent.allocate, or release the region before the buffer is transferred',
      { reason: 'nixl.detached', operation },
    );
  }

  /** @internal Releases the region at once if its buffer was detached. Returns whether it was. */
  noticeDetached(): boolean {
    if (this.#isOpen && this.#lacksBuffer()) {
      this.#isDetached = true;
      if (this.agent.isOpen) handled(this.release());
    }
    return this.#isDetached;
  }

  /** @internal @throws NixlError after the release */
  assertOpen(operation: string): void {
    this.assertAttached(operation);
    if (this.#isOpen) return;
    throw new NixlError('InvalidRequest', `${operation}: the region of ${this.bytes} bytes was released`, {
      reason: 'nixl.region_released',
      operation,
    });
  }

  /** @internal The handle. @throws NixlError after the release */
  handle(operation: string): Handle<'nixlRegion'> {
    this.assertOpen(operation);
    return this.#find(operation);
  }

  #find(operation: string): Handle<'nixlRegion'> {
    this.#handle ??= invokeSync(native.nixlRegionFind, operation, { a: arg('region', this.id) });
    return this.#handle;
  }

  #close(): void {
    this.#isOpen = false;
    this.#handle = undefined;
    this.agent.forget(this);
  }

  /** @internal Called when its agent has closed: the region has ended too. */
  ended(): void {
    if (!this.#isOpen) return;
    this.#close();
    if (this.#view) native.bufferDetach(this.#view.buffer as ArrayBuffer);
    this.#released = Promise.resolve();
  }
}

/** The memory of a region that another thread owns. `attachRegion` makes it. */
export class SharedRegion implements Disposable {
  #view: Uint8Array | undefined;

  /** @internal */
  constructor(
    view: Uint8Array,
    readonly bytes: number,
  ) {
    this.#view = view;
  }

  /** The bytes themselves, without a copy. Empty after `release`. */
  get view(): Uint8Array {
    return this.#view ?? new Uint8Array();
  }

  /** Releases the memory. It is freed after every thread and the agent have released it. Idempotent. */
  release(): void {
    if (this.#view !== undefined) native.bufferDetach(this.#view.buffer as ArrayBuffer);
    this.#view = undefined;
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

/**
 * Attaches the memory of a region that another thread of this process owns. The memory stays until it is released here,
 * even if the owner releases the region before. Only the owner can use the region in transfers.
 *
 * @throws NixlError `nixl.region_released` if the owner has released the region already
 */
export function attachRegion(token: RegionToken): SharedRegion {
  const operation = 'attachRegion';
  checkObject(`${operation} token`, token);
  checkOneOf(`${operation} token.kind`, token.kind, ['dynamo-node.region']);
  checkInteger(`${operation} token.id`, token.id, 1);
  if (token.process !== process.pid)
    throw badArgument(
      new TypeError(
        `${operation} token: expected a token of this process, ${process.pid}, got one of process ${token.process}`,
      ),
    );
  const buffer = native.nixlRegionView(invokeSync(native.nixlRegionFind, operation, { a: arg('region', token.id) }));
  if (buffer === null)
    throw badArgument(new TypeError(`${operation} token: expected a region of allocated host memory`));
  return new SharedRegion(new Uint8Array(buffer), buffer.byteLength);
}
