import { deflateRawSync } from 'node:zlib';

/** An array of a file of NumPy. The last fields make it faulty. */
export interface NpzArray {
  readonly type: string;
  readonly values: readonly number[];
  readonly count?: number;
  readonly content?: Buffer;
  readonly packed?: Buffer;
}

function numbers(type: string, values: readonly number[]): Buffer {
  const typed =
    type === '<i8'
      ? BigInt64Array.from(values, BigInt)
      : type === '<f4'
        ? Float32Array.from(values)
        : Float64Array.from(values);
  return Buffer.from(typed.buffer);
}

function npyOf({ type, values, count = values.length }: NpzArray): Buffer {
  const text = `{'descr': '${type}', 'fortran_order': False, 'shape': (${count},), }`;
  const header = Buffer.from(`${text.padEnd(117)}\n`, 'latin1');
  const start = Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, header.length, 0]);
  return Buffer.concat([start, header, numbers(type, values)]);
}

/** A file as NumPy's `savez` writes it, but without checksums, which the reader ignores. */
export function npzOf(arrays: Readonly<Record<string, NpzArray>>, isCompressed = false): Buffer {
  const local: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const [name, array] of Object.entries(arrays)) {
    const content = array.content ?? npyOf(array);
    const packed = array.packed ?? (isCompressed ? deflateRawSync(content) : content);
    const file = Buffer.from(`${name}.npy`);
    const fields = Buffer.alloc(26);
    fields.writeUInt16LE(20, 0);
    fields.writeUInt16LE(isCompressed ? 8 : 0, 4);
    fields.writeUInt32LE(packed.length, 14);
    fields.writeUInt32LE(content.length, 18);
    fields.writeUInt16LE(file.length, 22);
    const entry = Buffer.concat([Buffer.from('PK\x03\x04', 'latin1'), fields, file, packed]);
    const end = Buffer.alloc(14);
    end.writeUInt32LE(offset, 10);
    directory.push(Buffer.concat([Buffer.from('PK\x01\x02\x14\x00', 'latin1'), fields, end, file]));
    local.push(entry);
    offset += entry.length;
  }
  const listed = Buffer.concat(directory);
  const end = Buffer.alloc(18);
  end.writeUInt16LE(directory.length, 4);
  end.writeUInt16LE(directory.length, 6);
  end.writeUInt32LE(listed.length, 8);
  end.writeUInt32LE(offset, 12);
  return Buffer.concat([...local, listed, Buffer.from('PK\x05\x06', 'latin1'), end]);
}
