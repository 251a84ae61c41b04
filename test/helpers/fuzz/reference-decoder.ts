/** A second reader of MessagePack, as plain as possible, to compare the package's own with. */

const MAX_DEPTH = 512;

class Reader {
  #at = 0;
  readonly #view: DataView;

  readonly #text: { decode(bytes: Uint8Array): string };

  constructor(
    readonly bytes: Uint8Array,
    fatal: boolean,
  ) {
    this.#text = new TextDecoder('utf-8', { ignoreBOM: true, fatal });
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get isAtEnd(): boolean {
    return this.#at === this.bytes.length;
  }

  #take(count: number): Uint8Array {
    if (count > this.bytes.length - this.#at) throw new Error('cut off');
    this.#at += count;
    return this.bytes.subarray(this.#at - count, this.#at);
  }

  #unsigned(width: number): number | bigint {
    const bytes = this.#take(width);
    if (width < 8) return bytes.reduce((sum, byte) => sum * 256 + byte, 0);
    const value = bytes.reduce((sum, byte) => sum * 256n + BigInt(byte), 0n);
    return value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
  }

  #signed(width: number): number | bigint {
    const value = BigInt.asIntN(width * 8, BigInt(this.#unsigned(width)));
    return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  }

  #float(width: 4 | 8): number {
    const start = this.#at;
    this.#take(width);
    return width === 4 ? this.#view.getFloat32(start) : this.#view.getFloat64(start);
  }

  #list(length: number, depth: number): unknown[] {
    if (depth >= MAX_DEPTH) throw new Error('too deep');
    const items: unknown[] = [];
    for (let index = 0; index < length; index++) items.push(this.read(depth + 1));
    return items;
  }

  #map(length: number, depth: number): unknown {
    if (depth >= MAX_DEPTH) throw new Error('too deep');
    const entries: [string, unknown][] = [];
    for (let index = 0; index < length; index++) {
      const key = this.read(depth + 1);
      if (!['string', 'number', 'bigint'].includes(typeof key)) throw new Error('a wrong key');
      entries.push([String(key), this.read(depth + 1)]);
    }
    return Object.fromEntries(entries);
  }

  read(depth = 0): unknown {
    const byte = this.#take(1)[0]!;
    if (byte < 0x80) return byte;
    if (byte < 0x90) return this.#map(byte - 0x80, depth);
    if (byte < 0xa0) return this.#list(byte - 0x90, depth);
    if (byte < 0xc0) return this.#text.decode(this.#take(byte - 0xa0));
    if (byte >= 0xe0) return byte - 256;
    if (byte === 0xc0) return null;
    if (byte === 0xc2 || byte === 0xc3) return byte === 0xc3;
    if (byte >= 0xc4 && byte <= 0xc6) return Buffer.from(this.#take(Number(this.#unsigned(1 << (byte - 0xc4)))));
    if (byte === 0xca || byte === 0xcb) return this.#float(byte === 0xca ? 4 : 8);
    if (byte >= 0xcc && byte <= 0xcf) return this.#unsigned(1 << (byte - 0xcc));
    if (byte >= 0xd0 && byte <= 0xd3) return this.#signed(1 << (byte - 0xd0));
    if (byte >= 0xd9 && byte <= 0xdb) return this.#text.decode(this.#take(Number(this.#unsigned(1 << (byte - 0xd9)))));
    if (byte === 0xdc || byte === 0xdd) return this.#list(Number(this.#unsigned(byte === 0xdc ? 2 : 4)), depth);
    if (byte === 0xde || byte === 0xdf) return this.#map(Number(this.#unsigned(byte === 0xde ? 2 : 4)), depth);
    throw new Error('no value of Dynamo');
  }
}

/**
 * The value of a whole message. Throws for everything that a peer may not send; with `isStrict`, also for text that is
 * not UTF-8.
 */
export function referenceDecode(bytes: Uint8Array, isStrict = false): unknown {
  const reader = new Reader(bytes, isStrict);
  const value = reader.read();
  if (!reader.isAtEnd) throw new Error('bytes follow the value');
  return value;
}
