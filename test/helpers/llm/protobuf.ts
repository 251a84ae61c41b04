/** A minimal Protocol Buffers codec. A message is an object of fields by number: numbers, text, bytes or messages. */
type Value = number | boolean | string | Uint8Array | Message;
export interface Message {
  readonly [field: number]: Value | readonly Value[];
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 127) {
    bytes.push((rest % 128) | 128);
    rest = Math.floor(rest / 128);
  }
  return [...bytes, rest];
}

function field(number: number, value: Value): Buffer {
  if (typeof value === 'number' || typeof value === 'boolean')
    return Buffer.from([...varint(number * 8), ...varint(Number(value))]);
  const bytes = typeof value === 'string' ? Buffer.from(value) : value instanceof Uint8Array ? value : encode(value);
  return Buffer.concat([Buffer.from([...varint(number * 8 + 2), ...varint(bytes.length)]), bytes]);
}

export function encode(message: Message): Buffer {
  const values = Object.entries(message).flatMap(([number, value]) =>
    (Array.isArray(value) ? (value as Value[]) : [value as Value]).map((one) => field(Number(number), one)),
  );
  return Buffer.concat(values);
}

/** The values of each field, in order: numbers, or bytes that the caller decodes. */
export function decode(bytes: Buffer): Map<number, (number | Buffer)[]> {
  const fields = new Map<number, (number | Buffer)[]>();
  let at = 0;
  const read = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++] as number;
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = read();
    const [number, wire] = [Math.floor(key / 8), key % 8];
    let value: number | Buffer;
    if (wire === 0) value = read();
    else {
      const length = wire === 2 ? read() : wire === 1 ? 8 : 4;
      value = bytes.subarray(at, (at += length));
    }
    fields.set(number, [...(fields.get(number) ?? []), value]);
  }
  return fields;
}
