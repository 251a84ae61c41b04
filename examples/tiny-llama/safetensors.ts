import { readFile } from 'node:fs/promises';

/** A tensor in row-major order, converted to float32. */
export interface Tensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

interface TensorEntry {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}

const BYTES_PER_ELEMENT: Readonly<Record<string, number>> = { F32: 4, F16: 2, BF16: 2 };

/**
 * Reads a safetensors file whose tensors are F32, F16 or BF16.
 *
 * @throws RangeError if the header or a tensor exceeds the file, or a shape does not match its bytes
 * @throws TypeError if the header is invalid, or a tensor has another type
 */
export async function loadSafetensors(path: string): Promise<Map<string, Tensor>> {
  const file = await readFile(path);
  return parseSafetensors(new Uint8Array(file.buffer, file.byteOffset, file.byteLength), path);
}

/**
 * Parses the bytes of a safetensors file: a little-endian u64 header length, the JSON header, the tensors.
 *
 * @param name the name of these bytes in errors
 * @throws RangeError, TypeError as {@link loadSafetensors}
 */
export function parseSafetensors(bytes: Uint8Array, name = 'safetensors'): Map<string, Tensor> {
  if (bytes.byteLength < 8) {
    throw new RangeError(`${name}: expected at least 8 bytes, got ${bytes.byteLength}`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const headerBytes = view.getBigUint64(0, true);
  const roomBytes = bytes.byteLength - 8;
  if (headerBytes > BigInt(roomBytes)) {
    throw new RangeError(`${name}: expected a header of at most ${roomBytes} bytes, got ${headerBytes}`);
  }
  const dataStart = 8 + Number(headerBytes);
  const header = parseHeader(bytes.subarray(8, dataStart), name);

  const tensors = new Map<string, Tensor>();
  for (const [key, value] of Object.entries(header)) {
    if (key === '__metadata__') continue;
    const entry = checkEntry(value, `${name}: tensor ${key}`);
    const [start, end] = entry.data_offsets;
    if (start > end || dataStart + end > bytes.byteLength) {
      throw new RangeError(
        `${name}: tensor ${key}: expected bytes inside the ${bytes.byteLength - dataStart} of the file, ` +
          `got ${start} to ${end}`,
      );
    }
    const count = entry.shape.reduce((product, size) => product * size, 1);
    const width = BYTES_PER_ELEMENT[entry.dtype] ?? 0;
    if (end - start !== count * width) {
      throw new RangeError(
        `${name}: tensor ${key}: expected ${count * width} bytes for ${entry.dtype} [${entry.shape.join(', ')}], ` +
          `got ${end - start}`,
      );
    }
    tensors.set(key, { shape: entry.shape, data: toFloat32(view, dataStart + start, count, entry.dtype) });
  }
  return tensors;
}

function parseHeader(bytes: Uint8Array, name: string): object {
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new TypeError(`${name}: expected a JSON header`, { cause });
  }
  if (typeof header !== 'object' || header === null || Array.isArray(header)) {
    throw new TypeError(`${name}: expected a JSON object as header, got ${JSON.stringify(header)}`);
  }
  return header;
}

function checkEntry(value: unknown, name: string): TensorEntry {
  const { dtype, shape, data_offsets: offsets } = (value ?? {}) as Partial<TensorEntry>;
  if (typeof dtype !== 'string' || !Object.hasOwn(BYTES_PER_ELEMENT, dtype)) {
    throw new TypeError(`${name}: expected dtype ${Object.keys(BYTES_PER_ELEMENT).join(', ')}, got ${String(dtype)}`);
  }
  if (!Array.isArray(shape) || !shape.every(isSize)) {
    throw new TypeError(`${name}: expected a shape of non-negative integers, got ${JSON.stringify(shape)}`);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize)) {
    throw new TypeError(`${name}: expected data_offsets of two non-negative integers, got ${JSON.stringify(offsets)}`);
  }
  return { dtype, shape, data_offsets: [offsets[0], offsets[1]] };
}

function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function toFloat32(view: DataView, start: number, count: number, dtype: string): Float32Array {
  const data = new Float32Array(count);
  if (dtype === 'F32') {
    for (let i = 0; i < count; i++) data[i] = view.getFloat32(start + i * 4, true);
  } else if (dtype === 'BF16') {
    const bits = new Uint32Array(data.buffer);
    for (let i = 0; i < count; i++) bits[i] = view.getUint16(start + i * 2, true) << 16;
  } else {
    for (let i = 0; i < count; i++) data[i] = float16(view.getUint16(start + i * 2, true));
  }
  return data;
}

function float16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
