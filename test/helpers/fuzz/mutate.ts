/** Values at which formats and checks change. */
const NUMBERS = [0, 1, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0xffff, 0x1_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
const MAX_CHANGES = 6;
const MAX_BYTES = 4096;
const MAX_RANDOM_BYTES = 128;

/** The input in the making. A change may make it longer by at most `MAX_BYTES`. */
const buffer = Buffer.alloc(2 * MAX_BYTES);
let length = 0;

type Below = (limit: number) => number;

/** Makes space for `count` bytes at `start` instead of `removed` ones. */
function resize(start: number, removed: number, count: number): void {
  const end = Math.min(start + removed, length);
  buffer.copyWithin(start + count, end, length);
  length += count - (end - start);
}

const CHANGES: readonly ((below: Below, other: Uint8Array) => void)[] = [
  function flipBit(below) {
    if (length > 0) buffer[below(length)]! ^= 1 << below(8);
  },
  function setByte(below) {
    if (length > 0) buffer[below(length)] = below(256);
  },
  function setNumber(below) {
    const width = 1 << below(3);
    const number = NUMBERS[below(NUMBERS.length)]! % 2 ** (8 * width);
    if (length >= width) buffer.writeUIntBE(number, below(length - width + 1), width);
  },
  function remove(below) {
    resize(below(length + 1), below(16), 0);
  },
  function insert(below) {
    const [start, count] = [below(length + 1), 1 + below(8)];
    resize(start, 0, count);
    for (let index = 0; index < count; index++) buffer[start + index] = below(256);
  },
  function repeat(below) {
    const start = below(length + 1);
    const part = Buffer.from(buffer.subarray(start, Math.min(length, start + 1 + below(32))));
    const times = 1 + below(8);
    resize(start, 0, part.length * times);
    for (let time = 0; time < times; time++) buffer.set(part, start + time * part.length);
  },
  function splice(below, other) {
    const start = below(length + 1);
    const rest = other.subarray(below(other.length + 1));
    resize(start, length, rest.length);
    buffer.set(rest, start);
  },
];

/** A changed copy of one of the samples, of at most `MAX_BYTES` each. One in eight is made of random bytes only. */
export function mutated(samples: readonly Uint8Array[], random: () => number): Uint8Array {
  const below = (limit: number): number => Math.floor(random() * limit);
  const sample = (): Uint8Array => samples[below(samples.length)] ?? new Uint8Array();
  if (samples.length === 0 || below(8) === 0) {
    length = below(MAX_RANDOM_BYTES);
    for (let index = 0; index < length; index++) buffer[index] = below(256);
  } else {
    const start = sample();
    buffer.set(start);
    length = start.length;
    for (let count = 1 + below(MAX_CHANGES); count > 0; count--) {
      CHANGES[below(CHANGES.length)]!(below, sample());
      length = Math.min(length, MAX_BYTES);
    }
  }
  return Uint8Array.prototype.slice.call(buffer, 0, length);
}
