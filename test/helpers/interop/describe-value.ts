/** The value of FIXTURE in `peers/lines.py`. */
export const fixture = {
  u64: 2n ** 64n - 1n,
  i64: -(2n ** 63n),
  beyond_double: 2n ** 53n + 1n,
  small: 7,
  negative: -7,
  bytes: Buffer.from([0, 255, 128]),
  nan: Number.NaN,
  infinite: Number.NEGATIVE_INFINITY,
  half: 0.5,
  text: 'žluťoučký 🐎',
  nested: [[{ a: null }], true, false, []],
  empty: {},
};

const floats: Record<string, string> = { NaN: 'nan', Infinity: 'inf', '-Infinity': '-inf' };

/** A value with its types, as text. `peers/lines.py` returns the same text for the same value. */
export function describeValue(value: unknown): string {
  if (value === null || value === undefined) return 'none';
  if (typeof value === 'boolean') return String(value);
  if (typeof value === 'bigint' || Number.isInteger(value)) return `int ${String(value)}`;
  if (typeof value === 'number') return `float ${floats[String(value)] ?? value}`;
  if (typeof value === 'string') return `text ${value}`;
  if (value instanceof Uint8Array) return `bytes ${Buffer.from(value).toString('hex')}`;
  if (Array.isArray(value)) return `[${value.map(describeValue).join(', ')}]`;
  const entries = Object.entries(value as Record<string, unknown>).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, entry]) => `${key}: ${describeValue(entry)}`).join(', ')}}`;
}

/** The fixture after a codec: JSON has neither bytes nor NaN. */
export function carried(codec: 'msgpack' | 'json'): string {
  if (codec === 'msgpack') return describeValue(fixture);
  return describeValue({ ...fixture, bytes: [...fixture.bytes], nan: null, infinite: null });
}
