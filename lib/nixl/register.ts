import * as threads from 'node:worker_threads';
import { native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { checkInteger, checkObject, checkOneOf, MAX_I32, wrongType } from '../check.js';
import { badArgument, NixlError } from '../errors.js';
import { boolean, custom, integer, type OptionTable, oneOf, optionTable, text } from '../options.js';
import type { MemoryType } from './memory.js';

/** A file by its path. The region opens and closes it. Source: NIXL's POSIX and GDS backends. */
export interface FileSource {
  readonly path: string;
  readonly bytes: number;
  /** @default 'read' */
  readonly access?: 'read' | 'write';
  /** Creates the file if there is none. Needs `access: 'write'`. @default false */
  readonly create?: boolean;
}

const FILE_SOURCE: OptionTable<FileSource> = optionTable<FileSource>({
  path: text.about('The path of the file.').required(),
  bytes: integer(1).about('The length of the region.').required(),
  access: oneOf('read', 'write').about('How the file is opened.'),
  create: boolean.about('Creates the file if there is none.'),
});

/** A file that the caller has opened. It must stay open until the region is released. */
export interface DescriptorSource {
  readonly fd: number;
  readonly bytes: number;
}

const DESCRIPTOR_SOURCE: OptionTable<DescriptorSource> = optionTable<DescriptorSource>({
  fd: integer(0, MAX_I32).about('The descriptor of the open file.').required(),
  bytes: integer(1).about('The length of the region.').required(),
});

/** The highest ordinal of a GPU. */
const MAX_DEVICE = 1023;

const ADDRESSED = ['DRAM', 'VRAM', 'BLOCK', 'OBJECT'] as const;

/**
 * Memory at an address. It must stay mapped until the region is released. The address is not checked. A file has no
 * address: a backend would take the device's number for the descriptor of an open file.
 */
export interface AddressSource {
  readonly address: bigint;
  readonly bytes: number;
  readonly memory: Exclude<MemoryType, 'FILE'>;
  /** The device's ordinal, or the number of an object, which no other object of the agent has. @default 0 */
  readonly device?: number;
  /** Extra information for the backend, such as the key of an object. */
  readonly meta?: string;
}

/** The row of an address. */
export const addressRow = custom<bigint>('a bigint', (path, value) => {
  if (typeof value !== 'bigint') wrongType(path, 'a bigint', value);
})
  .about('The address of the first byte.')
  .required();

/** An address as a number, which is exact for memory below 2^53. */
export function addressOf(path: string, address: bigint, bytes: number): number {
  if (address < 0n || address + BigInt(bytes) > BigInt(Number.MAX_SAFE_INTEGER))
    throw badArgument(new RangeError(`${path}: expected memory below 2^53, got ${bytes} bytes at ${address}`));
  return Number(address);
}

const ADDRESS_SOURCE: OptionTable<AddressSource> = optionTable<AddressSource>({
  address: addressRow,
  bytes: integer(1).about('The length of the region.').required(),
  memory: custom<AddressSource['memory']>(`one of ${ADDRESSED.join(', ')}`, (path, memory) => {
    if (memory === 'FILE')
      throw badArgument(new TypeError(`${path}: a file is registered as { path, bytes } or { fd, bytes }, got "FILE"`));
    checkOneOf(path, memory, ADDRESSED);
  })
    .about('The kind of memory.')
    .required(),
  device: integer(0).about('The ordinal of the device.'),
  meta: text.about('Extra information for the backend.'),
});

/**
 * What can be registered. A buffer must not be shared, resizable or detached. A registered buffer cannot be transferred
 * to another thread. Newer versions of Node.js, such as 24.21 and 26, do not detach it in any other way either. If
 * another version does, such as by a BYOB read, its bytes stay until the region is released, and each use of the region
 * fails with `nixl.detached`.
 */
export type MemorySource = ArrayBuffer | Uint8Array | FileSource | DescriptorSource | AddressSource;

/** A source in its native form. */
export interface Registration {
  readonly memory: MemoryType;
  readonly address: number;
  readonly bytes: number;
  readonly device: number;
  readonly meta: string;
  /** The bytes, if the memory is a JavaScript buffer. */
  readonly owned: Uint8Array | undefined;
  /** What keeps the bytes of a JavaScript buffer, even if it is detached. */
  readonly hold: Hold | undefined;
}

interface Hold {
  readonly address: number;
  readonly id: number;
  readonly handle: Handle<'nixlHold'>;
}

/**
 * A transfer to another thread would move the memory there. Node.js has marked the buffers of native memory itself. To
 * mark one again makes Node.js 26 abort at its end, if the buffer is still in use.
 */
function markAsUntransferable(buffer: ArrayBuffer): void {
  const { isMarkedAsUntransferable: isMarked } = threads as { isMarkedAsUntransferable?: (value: object) => boolean };
  if (isMarked?.(buffer) !== true) threads.markAsUntransferable(buffer);
}

/** One hold for each buffer: lists often have many parts of one buffer. Only the registrations keep it. */
const holds = new WeakMap<ArrayBuffer, WeakRef<Hold>>();

function holdOf(path: Path, buffer: ArrayBuffer): Hold {
  const known = holds.get(buffer)?.deref();
  if (known !== undefined) return known;
  markAsUntransferable(buffer);
  const held = native.nixlBufferHold(buffer);
  if (held === null)
    throw new NixlError(
      'NotImplemented',
      `${path()}: this runtime cannot keep the bytes of a buffer that is detached; register memory of agent.allocate`,
      { reason: 'nixl.not_supported', operation: path() },
    );
  const [address, id, handle] = held;
  const hold = { address, id, handle };
  holds.set(buffer, new WeakRef(hold));
  return hold;
}

type AnyBuffer = ArrayBufferLike & { readonly resizable?: boolean; readonly detached?: boolean };

function ofBuffer(path: Path, view: Uint8Array): Registration {
  const buffer = view.buffer as AnyBuffer;
  if (!(buffer instanceof ArrayBuffer))
    throw badArgument(new TypeError(`${path()}: expected an ArrayBuffer, got a shared one`));
  if (buffer.resizable === true)
    throw badArgument(new TypeError(`${path()}: expected an ArrayBuffer of fixed size, got a resizable one`));
  if (view.byteLength === 0)
    throw badArgument(new TypeError(`${path()}: expected at least one byte, got none (a detached buffer has none)`));
  const hold = holdOf(path, buffer);
  const address = hold.address + view.byteOffset;
  return { memory: 'DRAM', address, bytes: view.byteLength, device: 0, meta: '', owned: view, hold };
}

function isFile(source: object): source is FileSource {
  return 'path' in source;
}

/** Checks a file given by its path. Undefined for other sources. The native side makes its registration. */
export function fileOf(path: string, source: MemorySource): FileSource | undefined {
  if (typeof source !== 'object' || source === null || !isFile(source)) return undefined;
  FILE_SOURCE.check(path, source);
  const { path: file, bytes, access = 'read', create = false } = source;
  if (create && access !== 'write')
    throw badArgument(new TypeError(`${path}.access: expected 'write' with create, got 'read'`));
  return { path: file, bytes, access, create };
}

/** The path of a source. Only built for errors: lists have thousands of sources. */
type Path = () => string;

/** Checks a source other than a path. */
export function registrationOf(pathOf: Path, source: MemorySource): Registration {
  if (source instanceof Uint8Array) return ofBuffer(pathOf, source);
  if (source instanceof ArrayBuffer) return ofBuffer(pathOf, new Uint8Array(source));
  const path = pathOf();
  if (source instanceof SharedArrayBuffer)
    throw badArgument(new TypeError(`${path}: expected an ArrayBuffer, got a shared one`));
  checkObject(path, source);
  if ('fd' in source) {
    DESCRIPTOR_SOURCE.check(path, source);
    const { fd, bytes } = source;
    return { memory: 'FILE', address: 0, bytes, device: fd, meta: '', owned: undefined, hold: undefined };
  }
  ADDRESS_SOURCE.check(path, source);
  const { address, bytes, memory, device = 0, meta = '' } = source;
  if (memory === 'VRAM') checkInteger(`${path}.device`, device, 0, MAX_DEVICE);
  const at = addressOf(`${path}.address`, address, bytes);
  return { memory, address: at, bytes, device, meta, owned: undefined, hold: undefined };
}
