import { inflateRawSync } from 'node:zlib';
import { badArgument } from '../errors.js';

/** The most bytes of an array. */
const MAX_ARRAY_BYTES = 64 * 1024 * 1024;
const MAX_ENTRIES = 1024;

/** Signatures of a zip file. Source: PKWARE's APPNOTE, 4.3. */
const END_OF_DIRECTORY = 0x0605_4b50;
const DIRECTORY_ENTRY = 0x0201_4b50;
const LOCAL_ENTRY = 0x0403_4b50;
const END_BYTES = 22;
/** The end record may be followed by a comment of this length. */
const MAX_COMMENT = 0xffff;
const [STORED, DEFLATED] = [0, 8];

function fail(path: string, expected: string): never {
  throw badArgument(new TypeError(`${path}: expected ${expected}`));
}

interface Entry {
  readonly name: string;
  readonly method: number;
  readonly packedBytes: number;
  readonly bytes: number;
  readonly offset: number;
}

function entriesOf(path: string, file: Buffer): Entry[] {
  const last = file.length - END_BYTES;
  let end = last;
  while (end >= Math.max(0, last - MAX_COMMENT) && file.readUInt32LE(end) !== END_OF_DIRECTORY) end--;
  if (end < 0 || file.readUInt32LE(end) !== END_OF_DIRECTORY) fail(path, 'a zip file');
  const count = file.readUInt16LE(end + 10);
  if (count > MAX_ENTRIES) fail(path, `at most ${MAX_ENTRIES} arrays`);
  const entries: Entry[] = [];
  let at = file.readUInt32LE(end + 16);
  for (let index = 0; index < count; index++) {
    if (file.readUInt32LE(at) !== DIRECTORY_ENTRY) fail(path, 'a directory of the zip file');
    const nameBytes = file.readUInt16LE(at + 28);
    entries.push({
      name: file.toString('utf8', at + 46, at + 46 + nameBytes),
      method: file.readUInt16LE(at + 10),
      packedBytes: file.readUInt32LE(at + 20),
      bytes: file.readUInt32LE(at + 24),
      offset: file.readUInt32LE(at + 42),
    });
    at += 46 + nameBytes + file.readUInt16LE(at + 30) + file.readUInt16LE(at + 32);
  }
  return entries;
}

function contentOf(path: string, file: Buffer, { method, packedBytes, bytes, offset }: Entry): Buffer {
  if (bytes > MAX_ARRAY_BYTES) fail(path, `at most ${MAX_ARRAY_BYTES} bytes`);
  if (file.readUInt32LE(offset) !== LOCAL_ENTRY) fail(path, 'an entry of the zip file');
  const start = offset + 30 + file.readUInt16LE(offset + 26) + file.readUInt16LE(offset + 28);
  const packed = file.subarray(start, start + packedBytes);
  const content =
    method === STORED
      ? packed
      : method === DEFLATED
        ? inflateRawSync(packed, { maxOutputLength: MAX_ARRAY_BYTES })
        : fail(path, 'an entry that is stored or deflated');
  return content.length === bytes ? content : fail(path, `${bytes} bytes`);
}

/** How numbers of a type are read. */
const READERS: Readonly<Record<string, readonly [number, (data: Buffer, at: number) => number]>> = {
  '<f8': [8, (data, at) => data.readDoubleLE(at)],
  '<f4': [4, (data, at) => data.readFloatLE(at)],
  '<i8': [8, (data, at) => Number(data.readBigInt64LE(at))],
  '<i4': [4, (data, at) => data.readInt32LE(at)],
};

/** The numbers of a `.npy` file. Source: NumPy's format specification, version 1 to 3. */
function numbersOf(path: string, file: Buffer): Float64Array {
  if (file.toString('latin1', 0, 6) !== '\x93NUMPY') fail(path, 'an array of NumPy');
  const isFirst = file.readUInt8(6) === 1;
  const start = isFirst ? 10 : 12;
  const end = start + (isFirst ? file.readUInt16LE(8) : file.readUInt32LE(8));
  const header = file.toString('latin1', start, end);
  const [, type = ''] = /'descr': *'([^']*)'/.exec(header) ?? [];
  const [, shape] = /'shape': *\(([\d, ]*)\)/.exec(header) ?? [];
  const reader = READERS[type];
  if (reader === undefined || shape === undefined)
    return fail(path, `numbers of type ${Object.keys(READERS).join(', ')}, got '${type}'`);
  const [bytes, read] = reader;
  const lengths = shape.split(',').filter((length) => length.trim() !== '');
  const count = lengths.reduce((product, length) => product * Number(length), 1);
  if (end + count * bytes > file.length) fail(path, `${count} numbers`);
  return Float64Array.from({ length: count }, (_, index) => read(file, end + index * bytes));
}

/**
 * Reads arrays of numbers from a file that NumPy's `savez` or `savez_compressed` wrote. Arrays of several dimensions
 * become one, in the order of the file.
 *
 * @param path names the file in errors
 * @throws TypeError for what is no such file
 */
export function readNpz(path: string, file: Buffer): Readonly<Record<string, Float64Array>> {
  try {
    const entries = entriesOf(path, file).filter(({ name }) => name.endsWith('.npy'));
    return Object.fromEntries(
      entries.map((entry) => {
        const name = entry.name.slice(0, -'.npy'.length);
        const at = `${path} ${name}`;
        return [name, numbersOf(at, contentOf(at, file, entry))];
      }),
    );
  } catch (error) {
    if (error instanceof TypeError) throw error;
    // An offset that leaves the file, or data that does not inflate.
    return fail(path, `a complete file of NumPy (${(error as Error).message})`);
  }
}
