const FLOATS = [0.5, -1.5, 1e300, 5e-324, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0];
const INTEGERS = [0, 1, 7, 8, 15, 16, 31, 32, 33, 127, 128, 255, 256, 65_535, 65_536, 2 ** 31, 2 ** 32, 2 ** 53];

/** The choices of one execution, read from its bytes. After the last byte, every choice is 0. */
export class FuzzInput {
  #at = 0;

  constructor(readonly bytes: Uint8Array) {}

  get isSpent(): boolean {
    return this.#at >= this.bytes.length;
  }

  byte(): number {
    return this.bytes[this.#at++] ?? 0;
  }

  /** An integer from 0 to below `limit`, which is at most 2^32. */
  below(limit: number): number {
    let value = this.byte();
    for (let reach = 256; reach < limit; reach *= 256) value = value * 256 + this.byte();
    return value % limit;
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)] as T;
  }

  /** Up to `limit` bytes. */
  take(limit: number): Uint8Array {
    const count = this.below(limit + 1);
    const start = this.#at;
    this.#at += count;
    return this.bytes.subarray(start, this.#at);
  }

  u32(): number {
    return ((this.byte() << 24) | (this.byte() << 16) | (this.byte() << 8) | this.byte()) >>> 0;
  }

  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32());
  }

  /** A number of any kind, often one at which a format changes. */
  number(): number {
    switch (this.below(6)) {
      case 0:
        return this.byte() - 128;
      case 1:
        return this.pick(FLOATS);
      case 2:
        return this.pick(INTEGERS) - this.below(2);
      case 3:
        return -this.pick(INTEGERS) + this.below(2);
      case 4:
        return this.u32() / 2 ** this.below(40);
      default:
        return this.u32() * 2 ** this.below(40);
    }
  }

  /** Up to `limit` code units, also halves of surrogate pairs. */
  text(limit: number): string {
    const units = [0, 32, 97, 0xe9, 0x2603, 0xd834, 0xdd1e, 0xffff];
    const count = this.below(limit + 1);
    const unit = this.pick(units);
    let text = '';
    for (let index = 0; index < count; index++) text += String.fromCharCode(unit + (this.isSpent ? 0 : this.below(4)));
    return text;
  }
}
