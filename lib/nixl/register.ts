import { markAsUntransferable } from 'node:worker_threads';
import { native } from '../addon/invoke.js';
import { checkInteger, checkObject, checkOneOf, checkOptions, checkString, wrongType } from '../check.js';
import { MEMORY_TYPES, type MemoryType } from './memory.js';

/** A file by its path, opened and closed by the region. Source: NIXL's POSIX and GDS backends. */
export interface FileSource {
  readonly path: string;
  readonly bytes: number;
  /** @default 'read' */
  readonly access?: 'read' | 'write';
  /** Makes the file where there is none; needs `access: 'write'`. @default false */
  readonly create?: boolean;
}

/** A file that the caller has open, and keeps open until the region is released. */
export interface DescriptorSource {
  readonly fd: number;
  readonly bytes: number;
}

/** Memory at an address, which the caller keeps until the region is released. Nothing checks that it is there. */
export interface AddressSource {
  readonly address: bigint;
  readonly bytes: number;
  readonly memory: MemoryType;
  /** The device's ordinal. @default 0 */
  readonly device?: number;
  /** What the backend wants besides, such as an object's key. */
  readonly meta?: string;
}

/**
 * What can be registered. A buffer must be neither shared, nor resizable, nor detached; while it is registered it cannot be
 * transferred to another thread.
 */
export type MemorySource = ArrayBuffer | Uint8Array | FileSource | DescriptorSource | AddressSource;

/** A source in the native form. */
export interface Registration {
  readonly memory: MemoryType;
  readonly address: number;
  readonly bytes: number;
  readonly device: number;
  readonly meta: string;
  /** The bytes, where they are JavaScript's. */
  readonly owned: Uint8Array | undefined;
}

/** The buffer whose address was asked for last: lists are often of many parts of one. */
let known: { readonly buffer: WeakRef<ArrayBuffer>; readonly address: number } | undefined;

function addressOf(buffer: ArrayBuffer): number {
  if (known?.buffer.deref() === buffer) return known.address;
  // Transferred to another thread it would be freed there.
  markAsUntransferable(buffer);
  known = { buffer: new WeakRef(buffer), address: native.nixlBufferAddress(buffer) };
  return known.address;
}

type AnyBuffer = ArrayBufferLike & { readonly resizable?: boolean; readonly detached?: boolean };

function ofBuffer(path: string, view: Uint8Array): Registration {
  const buffer = view.buffer as AnyBuffer;
  if (!(buffer instanceof ArrayBuffer))
    throw new TypeError(`${path}: expected an ArrayBuffer of this thread alone, got a shared one`);
  if (buffer.resizable === true)
    throw new TypeError(`${path}: expected an ArrayBuffer of fixed size, got a resizable one, whose memory may go`);
  if (view.byteLength === 0)
    throw new TypeError(`${path}: expected at least one byte, got none (a detached buffer has none)`);
  const address = addressOf(buffer) + view.byteOffset;
  return { memory: 'DRAM', address, bytes: view.byteLength, device: 0, meta: '', owned: view };
}

function isFile(source: object): source is FileSource {
  return 'path' in source;
}

/** A file's registration is made on the native side. */
export function fileOf(path: string, source: MemorySource): FileSource | undefined {
  if (typeof source !== 'object' || source === null || !isFile(source)) return undefined;
  checkOptions(path, source, ['path', 'bytes', 'access', 'create']);
  const { path: file, bytes, access = 'read', create = false } = source;
  checkString(`${path}.path`, file);
  checkInteger(`${path}.bytes`, bytes, 1);
  checkOneOf(`${path}.access`, access, ['read', 'write']);
  if (create && access !== 'write') throw new TypeError(`${path}.create: expected access 'write' with it, got 'read'`);
  return { path: file, bytes, access, create };
}

/** Checks a source other than a path. */
export function registrationOf(path: string, source: MemorySource): Registration {
  if (source instanceof Uint8Array) return ofBuffer(path, source);
  if (source instanceof ArrayBuffer) return ofBuffer(path, new Uint8Array(source));
  if (source instanceof SharedArrayBuffer)
    throw new TypeError(`${path}: expected an ArrayBuffer of this thread alone, got a shared one`);
  checkObject(path, source);
  if ('fd' in source) {
    checkOptions(path, source, ['fd', 'bytes']);
    const { fd, bytes } = source as unknown as DescriptorSource;
    checkInteger(`${path}.fd`, fd, 0, 2 ** 31 - 1);
    checkInteger(`${path}.bytes`, bytes, 1);
    return { memory: 'FILE', address: 0, bytes, device: fd, meta: '', owned: undefined };
  }
  checkOptions(path, source, ['address', 'bytes', 'memory', 'device', 'meta']);
  const { address, bytes, memory, device = 0, meta = '' } = source as unknown as AddressSource;
  if (typeof address !== 'bigint') wrongType(`${path}.address`, 'a bigint', address);
  checkInteger(`${path}.bytes`, bytes, 1);
  if (address < 0n || address + BigInt(bytes) > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new RangeError(`${path}.address: expected memory below 2^53, got ${bytes} bytes at ${address}`);
  }
  checkOneOf(`${path}.memory`, memory, MEMORY_TYPES);
  checkInteger(`${path}.device`, device, 0);
  checkString(`${path}.meta`, meta);
  return { memory, address: Number(address), bytes, device, meta, owned: undefined };
}
