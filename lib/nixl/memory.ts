import { invoke, invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { checkViewBytes } from '../addon/views.js';
import { checkInteger, checkObject, checkOneOf, wrongType } from '../check.js';
import { NixlError } from '../errors.js';
import type { NixlAgent } from './agent.js';
import { kept, onlyLimited, type WaitLimit, waited } from './limit.js';
import { pinned } from './pinned.js';

/** Kinds of memory, by NIXL's names. Source: `nixl_types.h`. */
export const MEMORY_TYPES = ['DRAM', 'VRAM', 'BLOCK', 'OBJECT', 'FILE'] as const;
/**
 * One of {@link MEMORY_TYPES}.
 * @useDeclaredType
 */
export type MemoryType = (typeof MEMORY_TYPES)[number];

/** Where a region is, for a peer: plain data that survives JSON. */
export interface MemoryDescriptor {
  /** The agent that registered it. */
  readonly agent: string;
  /** Of its first byte, in hexadecimal; 0x0 for a file. */
  readonly address: string;
  readonly bytes: number;
  readonly memory: MemoryType;
  /** The device's ordinal, a file's descriptor, else 0. */
  readonly device: number;
}

/** Hands a region's memory to another thread of this process; see `MemoryRegion.token`. */
export interface RegionToken {
  readonly kind: 'dynamo-node.region';
  readonly process: number;
  readonly id: number;
  readonly bytes: number;
}

/** How many bytes are meant: all from `offset` on where that is left out. */
export function checkRange(path: string, offset: number, bytes: number | undefined, whole: number): number {
  checkInteger(`${path} offset`, offset, 0, whole);
  if (bytes === undefined) return whole - offset;
  checkInteger(`${path} bytes`, bytes, 0, whole - offset);
  return bytes;
}

/** A run of bytes of a registered region. */
export class MemorySlice {
  /** @internal */
  constructor(
    readonly region: MemoryRegion,
    readonly offset: number,
    readonly bytes: number,
  ) {}

  /** A part of it, from `offset` on. */
  slice(offset: number, bytes?: number): MemorySlice {
    const length = checkRange('slice', offset, bytes, this.bytes);
    return new MemorySlice(this.region, this.offset + offset, length);
  }
}

/**
 * Memory that is registered with an agent. It stays registered, and what this package allocated stays allocated, until
 * `release` and until no transfer can touch it any more: a transfer that was aborted goes on for a while.
 */
export class MemoryRegion implements AsyncDisposable {
  /** Asked for when it is needed: thousands of regions may be registered of which most are only named in transfers. */
  #handle: Handle | undefined;
  #isOpen = true;
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
    /** The device's ordinal, a file's descriptor, else 0. */
    readonly device: number,
    owned?: Uint8Array,
  ) {
    this.#owned = owned;
  }

  /** Of the first byte; 0 for a file. */
  get address(): bigint {
    return BigInt(this.at);
  }

  /** Whether it can be used: neither it was released nor its agent closed. */
  get isOpen(): boolean {
    return this.#isOpen && this.agent.isOpen;
  }

  /**
   * The bytes themselves, without a copy: of allocated host memory, or what was registered. Null for memory that only a
   * device can read and for files. Empty after `release`.
   * @throws RangeError where it is more than a view may have: 4 GiB in Node.js 20
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

  /** A part of it, from `offset` on. */
  slice(offset: number, bytes?: number): MemorySlice {
    return new MemorySlice(this, offset, checkRange('region.slice', offset, bytes, this.bytes));
  }

  /** Where it is, for a peer that has the agent's metadata. */
  descriptor(): MemoryDescriptor {
    const { address, bytes, memory, device } = this;
    return { agent: this.agent.name, address: `0x${address.toString(16)}`, bytes, memory, device };
  }

  /** For a worker thread, which opens it with `openRegionToken`. */
  token(): RegionToken {
    this.open('region.token');
    return { kind: 'dynamo-node.region', process: process.pid, id: this.id, bytes: this.bytes };
  }

  /** Copies bytes into it, also into a device's memory. A limit ends the wait: the bytes may come later. */
  async upload(data: Uint8Array, offset = 0, limit: WaitLimit = {}): Promise<void> {
    const operation = 'region.upload';
    if (!(data instanceof Uint8Array)) wrongType(`${operation} data`, 'a Uint8Array', data);
    checkRange(operation, offset, data.byteLength, this.bytes);
    const options = onlyLimited(operation, limit);
    await invoke(
      native.nixlRegionWrite,
      operation,
      { handle: this.handle(operation), a: offset, payload: data },
      options,
    );
  }

  /** A copy of its bytes, also of a device's memory. */
  async download(offset = 0, bytes?: number, limit: WaitLimit = {}): Promise<Uint8Array> {
    const operation = 'region.download';
    const length = checkRange(operation, offset, bytes, this.bytes);
    const options = onlyLimited(operation, limit);
    return invoke(native.nixlRegionRead, operation, { handle: this.handle(operation), a: offset, b: length }, options);
  }

  /**
   * Takes it back. The view is empty at once, new transfers are refused, prepared ones and block lists made of it are
   * released. Resolves when the last transfer that may touch it has ended. Idempotent; a limit ends the wait, not the
   * release.
   */
  async release(limit: WaitLimit = {}): Promise<void> {
    const operation = 'region.release';
    const options = onlyLimited(operation, limit);
    if (this.#isOpen) {
      const handle = this.handle(operation);
      this.#close();
      if (this.#view) native.nixlViewDetach(this.#view.buffer as ArrayBuffer);
      this.#released = kept(
        invoke(native.nixlRegionRelease, operation, { handle }).then(() => void pinned.delete(this.id)),
      );
    }
    return waited(options, () => this.#released as Promise<void>);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }

  /** @internal Throws where it was released. */
  open(operation: string): void {
    if (this.#isOpen) return;
    throw new NixlError('InvalidRequest', `${operation}: the region of ${this.bytes} bytes was released`, {
      reason: 'nixl.region_released',
      operation,
    });
  }

  /** @internal The handle; throws where it was released. */
  handle(operation: string): Handle {
    this.open(operation);
    this.#handle ??= invokeSync(native.nixlRegionFind, operation, { a: this.id });
    return this.#handle;
  }

  #close(): void {
    this.#isOpen = false;
    this.#handle = undefined;
    this.agent.forget(this);
  }

  /** @internal Its agent has ended, and it with it. */
  ended(): void {
    if (!this.#isOpen) return;
    this.#close();
    if (this.#view) native.nixlViewDetach(this.#view.buffer as ArrayBuffer);
    this.#released = Promise.resolve();
  }
}

/** A region's memory in a thread that does not own the region. */
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

  /** Gives the memory back; it is freed when every thread has, and its agent with them. Idempotent. */
  release(): void {
    if (this.#view !== undefined) native.nixlViewDetach(this.#view.buffer as ArrayBuffer);
    this.#view = undefined;
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

/**
 * The memory of a region of another thread of this process. The memory stays while it is held here; the region may be
 * released by its owner meanwhile, and its transfers are its owner's.
 */
export function openRegionToken(token: RegionToken): SharedRegion {
  const operation = 'openRegionToken';
  checkObject(`${operation} token`, token);
  checkOneOf(`${operation} token.kind`, token.kind, ['dynamo-node.region']);
  checkInteger(`${operation} token.id`, token.id, 1);
  if (token.process !== process.pid)
    throw new TypeError(
      `${operation} token: expected one of this process, ${process.pid}, got one of ${token.process}`,
    );
  const buffer = native.nixlRegionView(invokeSync(native.nixlRegionFind, operation, { a: token.id }));
  if (buffer === null) throw new TypeError(`${operation} token: expected a region of allocated host memory`);
  return new SharedRegion(new Uint8Array(buffer), buffer.byteLength);
}
