import { runInNewContext } from 'node:vm';

import { packBorrowed, unpack } from '../../../lib/addon/codec.js';
import { detached } from '../addon/detached.js';
import type { FuzzInput } from './input.js';

/** A value for the encoder, and what its reader gets. */
export interface Sample {
  readonly value: unknown;
  readonly read: unknown;
  /** Whether the value has a part that cannot be sent. */
  readonly isRefused?: boolean;
}

const MAX_DEPTH = 5;
const MAX_ITEMS = 20;

const VIEWS = [
  Int8Array,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
  ...[(globalThis as { Float16Array?: typeof Float32Array }).Float16Array ?? []].flat(),
];
/** A class whose fields contradict its bytes. */
class Liar extends Uint8Array {
  override get byteLength(): never {
    return 200 as never;
  }

  override get length(): never {
    return 9 as never;
  }
}
/** A value of another realm. */
const FOREIGN: unknown = runInNewContext('({ a: [1, new Map([["k", new Uint8Array(2)]])] })');
const REFUSED: readonly unknown[] = [
  detached((memory) => memory),
  detached((memory) => new Uint8Array(memory)),
  detached((memory) => new Float64Array(memory)),
  detached((memory) => new DataView(memory)),
  (function* () {})(),
  new Proxy([], { get: () => -1 }),
  () => {},
  Symbol('x'),
  new SharedArrayBuffer(8),
  new Error('x'),
  /x/,
  Promise.resolve(),
  new WeakMap(),
  new Map([[{}, 1]]),
  2n ** 64n,
  -(2n ** 63n) - 1n,
];

const whole = (text: string): string => Buffer.from(text).toString();
const short = (value: bigint): number | bigint => (Number.isSafeInteger(Number(value)) ? Number(value) : value);
const plain = (value: unknown): Sample => ({ value, read: value });

/** -0 is sent as 0. */
const positive = (value: number): number => (value === 0 ? 0 : value);

function field(target: object, name: string, value: unknown): void {
  Object.defineProperty(target, name, { value, enumerable: true, configurable: true, writable: true });
}

/** Uses the encoder and the decoder in the middle of another value. */
function interrupt(): void {
  packBorrowed({ of: 'another value', numbers: new Uint32Array(3000) });
  unpack(packBorrowed(['inner']));
  try {
    packBorrowed({ deep: [Symbol('x')] });
  } catch {
    // The outer value must not notice.
  }
}

function scalar(input: FuzzInput): Sample {
  const number = input.number();
  return { value: number, read: positive(number) };
}

function bytes(input: FuzzInput): Sample {
  const read = Buffer.from(input.take(300));
  const shared = new Uint8Array(new SharedArrayBuffer(read.length));
  shared.set(read);
  const values = [read, new Uint8Array(read), Uint8ClampedArray.from(read), new Uint8Array(read).buffer, shared];
  if (input.below(8) === 0) return { value: Liar.from(read), read };
  return { value: input.pick([...values, new DataView(new Uint8Array(read).buffer)]), read };
}

function typedArray(input: FuzzInput): Sample {
  const View = input.pick(VIEWS);
  const { buffer } = new Uint8Array(8 * input.below(40)).map(() => input.byte());
  const value = new View(buffer);
  const read = Array.from<number | bigint, unknown>(value, (one) =>
    typeof one === 'bigint' ? short(one) : positive(one),
  );
  return { value, read };
}

function list(input: FuzzInput, depth: number): Sample {
  const items = Array.from({ length: input.below(MAX_ITEMS) }, () => sampleOf(input, depth + 1));
  const isSet = input.below(4) === 0;
  const kept = isSet ? [...new Map(items.map((one) => [one.value, one])).values()] : items;
  const values = kept.map((one) => one.value);
  const read = kept.map((one) => one.read);
  return { value: isSet ? new Set(values) : values, read, isRefused: kept.some((one) => one.isRefused) };
}

/** A record, a `Map`, or an object of a class, some of whose fields are getters. */
function record(input: FuzzInput, depth: number): Sample {
  const entries = Array.from({ length: input.below(MAX_ITEMS) }, (_, index) => {
    const name = input.pick([`k${index}`, '__proto__', 'constructor', `${index}`, `${input.text(40)}${index}`]);
    return [name, sampleOf(input, depth + 1)] as const;
  });
  const last = new Map(entries);
  const isRefused = [...last.values()].some((one) => one.isRefused);
  const read = {};
  for (const [name, one] of last) field(read, whole(name), one.read);
  if (input.below(4) === 0)
    return { value: new Map([...last].map(([name, one]) => [name, one.value])), read, isRefused };
  const value = input.pick([() => ({}), () => Object.create(null), () => new (class Own {})()])();
  for (const [name, one] of last) {
    if (input.below(8) !== 0) field(value, name, one.value);
    else {
      const get = (): unknown => {
        interrupt();
        return one.value;
      };
      Object.defineProperty(value, name, { get, enumerable: true, configurable: true });
    }
  }
  return { value, read, isRefused };
}

function replaced(input: FuzzInput, depth: number): Sample {
  const inner = sampleOf(input, depth + 1);
  const toJSON = (): unknown => {
    interrupt();
    return inner.value;
  };
  return { ...inner, value: { hidden: 'must not be sent', toJSON } };
}

const KINDS: readonly ((input: FuzzInput, depth: number) => Sample)[] = [
  scalar,
  (input) => plain(input.pick([null, true, false])),
  () => ({ value: undefined, read: null }),
  (input) => {
    const value = input.text(80);
    return { value, read: whole(value) };
  },
  (input) => {
    const value = input.below(2) === 0 ? input.u64() : BigInt.asIntN(64, input.u64());
    return { value, read: short(value) };
  },
  bytes,
  typedArray,
  (input) => {
    const value = new Date(input.u32());
    return { value, read: value.toJSON() };
  },
  (input) => {
    const text = input.text(9);
    return { value: Object(text), read: whole(text) };
  },
  () => ({ value: FOREIGN, read: { a: [1, { k: Buffer.alloc(2) }] } }),
  (input) => (input.below(8) === 0 ? { value: input.pick(REFUSED), read: undefined, isRefused: true } : plain(1)),
  list,
  record,
  replaced,
];
const DEEP_KINDS = 3;

/** A value that the input describes. */
export function sampleOf(input: FuzzInput, depth = 0): Sample {
  const kinds = depth < MAX_DEPTH && !input.isSpent ? KINDS : KINDS.slice(0, -DEEP_KINDS);
  return input.pick(kinds)(input, depth);
}
