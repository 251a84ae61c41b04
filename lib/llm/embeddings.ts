import { mistake } from '../addon/codec.js';
import { wrongType } from '../check.js';

type Vector = readonly number[] | Float32Array | Float64Array;

const isVector = (value: unknown): value is Vector =>
  Array.isArray(value) || value instanceof Float32Array || value instanceof Float64Array;

/**
 * A vector as workers answer embedding requests: base64 of 32-bit little-endian floats. A frontend decodes it for
 * clients that want numbers, but does not encode numbers for clients that want base64, as the `openai` package does.
 * Source: `dynamo-llm` `http/service/openai.rs`.
 *
 * @example
 * const data = [{ index: 0, object: 'embedding', embedding: encodeEmbedding([0.25, -1.5]) }];
 */
export function encodeEmbedding(vector: readonly number[] | Float32Array | Float64Array): string {
  if (!isVector(vector)) wrongType('encodeEmbedding vector', 'an array of numbers', vector);
  return encoded('encodeEmbedding vector', vector);
}

function encoded(path: string, vector: Vector): string {
  const bytes = Buffer.alloc(vector.length * 4);
  for (let index = 0; index < vector.length; index++) {
    const value: unknown = vector[index];
    if (typeof value !== 'number') wrongType(`${path}[${index}]`, 'a number', value);
    bytes.writeFloatLE(value, index * 4);
  }
  return bytes.toString('base64');
}

/** The answer of an embedding engine, with each vector in the form of `encodeEmbedding`. */
export function encodedEmbeddings(item: unknown): unknown {
  const { data } = (item ?? {}) as { data?: unknown };
  if (!Array.isArray(data)) return item;
  try {
    const vectors = data.map((one: unknown, index) => {
      const { embedding } = (one ?? {}) as { embedding?: unknown };
      if (!isVector(embedding)) return one;
      return { ...(one as object), embedding: encoded(`item.data[${index}].embedding`, embedding) };
    });
    return { ...(item as object), data: vectors };
  } catch (error) {
    throw mistake('engine.generate', `engine.generate ${(error as Error).message}`);
  }
}
